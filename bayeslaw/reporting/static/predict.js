/* bayeslaw/advice/prediction.py: recommendation, intervals, price, doubts. Names and keys as there. */

/* The object that `bayeslaw predict --json` prints, without the posterior's provenance. */
function predict(group, target, level) {
  const at = target_surface.surface_at(group, target);
  const settings = target_surface.decide(at);
  const outcome = outcome_of(group, at, settings);
  const optima = Object.entries(target_surface.optimum_draws(at));
  const beyond = extrapolation(target);
  return {
    inputs: target,
    recommendation: settings,
    optimum: Object.fromEntries(optima.map(([name, draws]) => [name, interval(draws, level)])),
    loss_nats_per_token: interval(outcome.loss, level),
    regret: {
      expected: mean(outcome.regret),
      upper: quantiles(outcome.regret, [level])[0],
      batch_cost: mean(outcome.batch_cost),
    },
    extrapolation: beyond,
    level,
    warnings: warnings(group, at, settings, outcome, beyond, level),
  };
}

function outcome_of(group, at, settings) {
  const fixed = at.target.batch_tokens !== null;
  const rate = Math.log(settings.learning_rate);
  const batch = Math.log(settings.batch_tokens);
  const whole = target_surface.lr_batch_excess(at, rate, batch);
  const own = fixed ? target_surface.lr_batch_excess(at, rate, batch, true) : whole;
  const terms = at.extras.map((name) =>
    target_surface.extra_excess(at, name, law.to_coordinate(name, settings[name])),
  );
  const others = whole.map((_, i) => terms.reduce((sum, term) => sum + term[i], 0));
  const noise = (i, excess) => surface.noise_scale(at.p[i], excess) * group.noise[i];
  return {
    regret: own.map((excess, i) => Math.expm1(excess + others[i])),
    batch_cost: whole.map((excess, i) => Math.expm1(Math.max(excess - own[i], 0))),
    loss: whole.map((excess, i) =>
      Math.exp(at.log_loss[i] + excess + others[i] + noise(i, excess + others[i])),
    ),
    diverges: target_surface.chance_diverged(at, rate, batch),
  };
}

/* How far the target lies outside the fitted cells' range of each covariate, in decades; 0 inside. */
function extrapolation(target) {
  const own = PAGE.cells.filter(({ optimizer }) => optimizer === target.optimizer);
  const cells = own.length ? own : PAGE.cells;
  const here = target_surface.place(target);
  const outside = ({ name, key }) => {
    const fitted = cells.map(({ x }) => x[name]);
    const [low, high] = [fitted.reduce((a, b) => Math.min(a, b)), fitted.reduce((a, b) => Math.max(a, b))];
    return [key, Math.max(0, here[name] - high, low - here[name]) / Math.LN10];
  };
  return Object.fromEntries(PAGE.covariates.map((each) => (cells.length ? outside(each) : [each.key, 0])));
}

/* Excess loss of each learning rate at a batch, over the best one there: (rate, quantile), a fraction. */
function loss_curve(at, batch, learning_rates, levels) {
  return learning_rates.map((rate) => {
    const excess = target_surface.lr_batch_excess(at, Math.log(rate), Math.log(batch), true);
    return quantiles(excess, levels).map(Math.expm1);
  });
}

function interval(draws, level) {
  const [lower, middle, upper] = quantiles(draws, [(1 - level) / 2, 0.5, (1 + level) / 2]);
  return { median: middle, lower, upper };
}

/* Whether every number of an answer is finite, and learning rates are above 0. */
function usable(result) {
  const parts = [result.recommendation, result.loss_nats_per_token, result.regret, result.extrapolation];
  const numbers = [...parts, ...Object.values(result.optimum)].flatMap(Object.values);
  const rates = [result.recommendation.learning_rate, result.optimum.learning_rate.lower];
  return numbers.every(Number.isFinite) && rates.every((rate) => rate > 0);
}

function warnings(group, at, settings, outcome, beyond, level) {
  const said = [...group.doubts];
  for (const { key, words } of PAGE.covariates) {
    if (beyond[key] > FAR) {
      said.push(`${words} lies ${beyond[key].toFixed(1)} decades outside the fitted runs: far to extrapolate`);
    }
  }
  said.push(...about_batch(at, settings, outcome, level), ...about_rate(at, settings, level));
  said.push(...about_reach(at, settings));
  const chance = mean(outcome.diverges);
  if (chance > RISKY) {
    said.push(
      `the recommended learning rate diverges with probability ${(100 * chance).toFixed(0)}%: ` +
        "have a restart at half of it ready",
    );
  }
  return [...said, ...group.doubts_of_covariates, ...group.doubts_of_extras];
}

function about_batch(at, settings, outcome, level) {
  const { batch_tokens: fixed, tokens } = at.target;
  if (fixed === null) {
    if (settings.batch_tokens < tokens) return [];
    return [`the best batch exceeds the ${general(tokens, 3)} tokens of the run: cut to a single step`];
  }
  const best = interval(at.log_batch.map(Math.exp), level);
  if (best.lower <= fixed && fixed <= best.upper) return [];
  const times = Math.max(fixed / best.median, best.median / fixed);
  const side = fixed > best.median ? "above" : "below";
  return [
    `the fixed batch is ${times.toFixed(1)} times ${side} the best one (${general(best.median, 2)} tokens), ` +
      `which costs about ${general(100 * mean(outcome.batch_cost), 2)}% of the loss`,
  ];
}

/* Why the advised learning rate is far from the likeliest one at its batch, where it is. */
function about_rate(at, settings, level) {
  const best = interval(target_surface.log_lr_at_batch(at, Math.log(settings.batch_tokens)), level);
  const aside = Math.log(settings.learning_rate) - best.median;
  if (!(Math.abs(aside) > Math.log(ASIDE))) return [];
  const [side, dear] = aside < 0 ? ["below", "high"] : ["above", "low"];
  return [
    `the advised learning rate lies ${Math.exp(Math.abs(aside)).toFixed(1)} times ${side} the likeliest one at ` +
      `its batch (${general(Math.exp(best.median), 2)}): too ${dear} a rate costs more, and the best one is ` +
      `known to a factor of ${Math.exp(best.upper - best.lower).toFixed(1)} only`,
  ];
}

/* Which settings are held back because nothing like what they would be was tried. */
function about_reach(at, settings) {
  const fixed = at.target.batch_tokens !== null;
  const log_batch = Math.log(settings.batch_tokens);
  const best = {
    learning_rate: fixed ? target_surface.log_lr_at_batch(at, log_batch) : at.log_lr,
    ...(fixed ? {} : { batch_tokens: at.log_batch }),
  };
  return Object.entries(best).flatMap(([name, draws]) => {
    const [low, high] = target_surface.within_reach(at, name, draws);
    const here = Math.log(settings[name]);
    if (!(Math.min(here - low, high - here) < 2 * TOLERANCE)) return [];
    const end = here - low < high - here ? "a quarter of the smallest" : "4 times the largest";
    return [
      `the ${LAW.optima[name].words.split(",")[0]} is held at ${end} that ${at.target.study} tried, ` +
        "carried over to this run: the model asks for more; try some on that side",
    ];
  });
}
