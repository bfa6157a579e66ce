/* bayeslaw/advice/target_surface.py and decision.py with independent=True: the loss around one target's optimum, and
   the decision. Names as there. A function that is (draw, setting) there takes one setting here and returns one
   number per draw. */

const target_surface = {
  surface_at(group, target) {
    const x = target_surface.place(target);
    const shifts = target_surface.cell_shifts(group, target);
    const p = law.drifts(group.p[0]) ? group.p.map((each) => law.drifted(each, x)) : group.p;
    const by_draw = (value) => over_draws(p, value);
    const known = Object.keys(LAW.optima).filter((name) => (LAW.optima[name].curvature ?? "alpha") in p[0]);
    const best = (name) => {
      const shift = { learning_rate: shifts.lr, batch_tokens: shifts.batch }[name];
      return by_draw((p, i) => law.optimum_of(name, p, x) + (shift ? shift[i] : 0));
    };
    const optima = Object.fromEntries(known.map((name) => [name, best(name)]));
    const fading = by_draw((p) => surface.fading(p, x));
    const only = group.only_batch === null ? null : Math.log(group.only_batch);
    const at_only = (p, i) => (only === null ? 0 : fading[i] * surface.batch_excess(p, only - optima.batch_tokens[i]));
    return {
      target,
      x,
      p,
      optima,
      log_lr: optima.learning_rate,
      log_batch: optima.batch_tokens,
      log_loss: by_draw((p, i) => surface.log_level(p, x) + shifts.level[i] - at_only(p, i)),
      fading,
      tried: group.tried,
      knee: by_draw((p) => Math.exp(p.knee)),
      batches: new Map(),
      extras: known.filter((name) => LAW.optima[name].curvature),
    };
  },

  /* The target's covariates about the pivot; those that the page does not ask for are at their defaults. */
  place(target) {
    const { n, d } = PAGE.pivot;
    const here = { n: Math.log(target.params_nonembedding / n), d: Math.log(target.tokens / d) };
    const { defaults } = PAGE.studies.find(({ name }) => name === target.study);
    return { ...defaults, ...here };
  },

  cell_shifts(group, target) {
    const seen = target_surface.fitted_cell(group, target);
    if (seen) return seen.shifts;
    const size = target_surface.size_shifts(group, target);
    if (group.deviations) return target_surface.smooth_shifts(group, target, size);
    const { d } = target_surface.place(target);
    const drawn = (name, i) => Math.exp(group.p[i][`log_tau_${name}`]) * group.normals[`cell_${name}`][i];
    const by_draw = (value) => over_draws(group.p, (_, i) => value(i));
    return {
      level: by_draw((i) => drawn("level", i) + size.level[i] + size.slope[i] * d),
      lr: by_draw((i) => drawn("lr", i) + size.lr[i]),
      batch: by_draw((i) => drawn("batch", i) + size.batch[i]),
    };
  },

  smooth_shifts(group, target, size) {
    const { places, modes, variances, known } = group.deviations;
    const here = target_surface.place(target);
    const among = places.map((there) => smoothness.correlation(there, here));
    const across = modes.map((mode) => mode.reduce((sum, weight, k) => sum + weight * among[k], 0));
    const distance = smoothness.beyond(places, here);
    const drawn = (name) =>
      over_draws(group.p, (p, i) => {
        const wandered = WANDER[name] ** 2 * distance;
        const [smooth, white] = ["_smooth", ""].map((kind) => Math.exp(p[`log_tau${kind}_${name}`]));
        const normal = group.normals[`cell_${name}`][i];
        return (
          size[name][i] +
          smoothness.deviation(known[name], i, variances, across, smooth, white, normal, wandered)
        );
      });
    return { level: drawn("level"), lr: drawn("lr"), batch: drawn("batch") };
  },

  size_shifts(group, target) {
    const seen = group.sizes.find((size) => target_surface.same(size.n, target.params_nonembedding));
    if (seen) return seen.shifts;
    const drawn = (name) =>
      over_draws(
        group.p,
        (p, i) => Math.exp(p[`log_tau_size_${name}`]) * group.normals[`size_${name}`][i],
      );
    return { level: drawn("level"), slope: drawn("slope"), lr: drawn("lr"), batch: drawn("batch") };
  },

  fitted_cell(group, target) {
    return group.cells.find(
      (cell) => target_surface.same(cell.n, target.params_nonembedding) && target_surface.same(cell.d, target.tokens),
    );
  },

  same(a, b) {
    return Math.abs(Math.log(a / b)) < SAME_SIZE;
  },

  log_lr_at_batch(at, log_batch) {
    return at.log_lr.map(
      (log_lr, i) =>
        log_lr + surface.ridge(log_batch - at.log_batch[i], at.p[i].rho, at.p[i].rho_high),
    );
  },

  lr_batch_excess(at, log_lr, log_batch, beyond_batch = false) {
    const { best, curvature, excess } = target_surface.at_batch(at, log_batch);
    return over_draws(at.p, (_, i) => {
      const own = surface.lr_excess(log_lr - best[i], curvature[i], at.knee[i]);
      return Math.min(at.fading[i] * (beyond_batch ? own : own + excess[i]), MAX_EXCESS);
    });
  },

  /* What a batch decides whatever the learning rate, worked out once. */
  at_batch(at, log_batch) {
    if (!at.batches.has(log_batch)) {
      const v = at.log_batch.map((best) => log_batch - best);
      at.batches.set(log_batch, {
        best: target_surface.log_lr_at_batch(at, log_batch),
        curvature: v.map((each, i) => surface.lr_curvature(at.p[i], each)),
        excess: v.map((each, i) => surface.batch_excess(at.p[i], each)),
      });
    }
    return at.batches.get(log_batch);
  },

  chance_diverged(at, log_lr, log_batch) {
    return target_surface.log_lr_at_batch(at, log_batch).map((best, i) => {
      const p = at.p[i];
      const beyond = (log_lr - best - p.cliff) / Math.exp(p.log_cliff_width);
      return 1 / (1 + Math.exp(-Math.min(Math.max(beyond, -50), 50)));
    });
  },

  extra_excess(at, name, coordinate) {
    const { curvature } = LAW.optima[name];
    const optimum = at.optima[name];
    return over_draws(at.p, (p, i) => {
      const excess = surface.side_excess(coordinate - optimum[i], p[curvature]);
      return Math.min(at.fading[i] * excess, MAX_EXCESS);
    });
  },

  optimum_draws(at) {
    const { batch_tokens: fixed, tokens } = at.target;
    const rate = fixed === null ? at.log_lr : target_surface.log_lr_at_batch(at, Math.log(fixed));
    const best = {
      learning_rate: rate.map(Math.exp),
      batch_tokens: at.log_batch.map((log_batch) => Math.exp(Math.min(log_batch, Math.log(tokens)))),
    };
    for (const name of at.extras) {
      best[name] = at.optima[name].map((each) => law.from_coordinate(name, each));
    }
    return best;
  },

  decide(at) {
    const extras = at.extras.map((name) => [name, target_surface.decide_extra(at, name)]);
    return { ...target_surface.decide_rate_and_batch(at), ...Object.fromEntries(extras) };
  },

  decide_extra(at, name) {
    const optimum = at.optima[name];
    const [lowest, highest] = law.at_zero(name);
    const [best] = target_surface.minimise(
      ([coordinate]) => mean(target_surface.extra_excess(at, name, coordinate)),
      [median(optimum)],
      [target_surface.half_width(optimum)],
      [lowest],
      [highest],
    );
    return law.from_coordinate(name, best);
  },

  decide_rate_and_batch(at) {
    const { batch_tokens: fixed, tokens } = at.target;
    if (fixed !== null) {
      const rates = target_surface.log_lr_at_batch(at, Math.log(fixed));
      const [low, high] = target_surface.within_reach(at, "learning_rate", rates);
      const [best] = target_surface.minimise(
        ([log_lr]) => mean(target_surface.lr_batch_excess(at, log_lr, Math.log(fixed))),
        [median(rates)],
        [target_surface.half_width(rates)],
        [low],
        [high],
      );
      return { learning_rate: Math.exp(best), batch_tokens: fixed };
    }
    const limit = Math.log(tokens);
    const rates = target_surface.within_reach(at, "learning_rate", at.log_lr);
    const batches = target_surface.within_reach(at, "batch_tokens", at.log_batch);
    const best = target_surface.minimise(
      ([log_lr, log_batch]) => mean(target_surface.lr_batch_excess(at, log_lr, log_batch)),
      [median(at.log_lr), median(at.log_batch)],
      [target_surface.half_width(at.log_lr), target_surface.half_width(at.log_batch)],
      [rates[0], Math.min(batches[0], limit)],
      [rates[1], Math.min(batches[1], limit)],
    );
    const batch = best[1] >= limit ? tokens : Math.exp(best[1]);
    return { learning_rate: Math.exp(best[0]), batch_tokens: batch };
  },

  /* Range of a setting's logarithm that advice keeps to: ALLOWANCE beyond what the group's runs tried. */
  within_reach(at, name, best) {
    if (!(name in at.tried)) return [-Infinity, Infinity];
    const [middle] = quantiles(best, [0.5]);
    const [lowest, highest] = at.tried[name];
    return [middle + lowest - ALLOWANCE, middle + highest + ALLOWANCE];
  },

  half_width(draws) {
    const [low, high] = quantiles(draws, [0.1, 0.9]);
    return Math.max(0.5 * (high - low), 0.05);
  },

  minimise(objective, start, width, lowest = [-Infinity], highest = [Infinity]) {
    const clipped = (point) => point.map((x, k) => Math.min(Math.max(x, lowest[k]), highest[k]));
    const length = (step) => step.reduce((sum, x) => sum + Math.abs(x), 0);
    const steps = target_surface.product([-1, -0.5, 0, 0.5, 1], start.length);
    steps.sort((a, b) => length(a) - length(b)); // stable: the centre first, it wins ties
    let point = clipped(start);
    for (let round = 0; round < 200; round++) {
      const candidates = steps.map((step) => clipped(point.map((x, k) => x + step[k] * width[k])));
      const chosen = argmin(candidates.map(objective));
      point = candidates[chosen];
      width = width.map((w, k) => (Math.abs(steps[chosen][k]) === 1 ? w : 0.5 * w));
      if (Math.max(...width) < TOLERANCE) break;
    }
    return point;
  },

  product(values, repeat) {
    if (repeat === 0) return [[]];
    return values.flatMap((value) => target_surface.product(values, repeat - 1).map((rest) => [value, ...rest]));
  },
};

/* -------------------------------------------------------------------------------- what NumPy has */

/* One number a draw; several times as fast as Float64Array.from. */
function over_draws(p, value) {
  const result = new Float64Array(p.length);
  for (let i = 0; i < p.length; i++) result[i] = value(p[i], i);
  return result;
}

function mean(values) {
  let sum = 0;
  for (const value of values) sum += value;
  return sum / values.length;
}

/* Linear interpolation between order statistics, as numpy.quantile. */
function quantiles(values, levels) {
  const sorted = Float64Array.from(values).sort();
  return levels.map((level) => {
    const place = level * (sorted.length - 1);
    const below = Math.min(Math.floor(place), Math.max(sorted.length - 2, 0));
    const above = Math.min(below + 1, sorted.length - 1);
    return sorted[below] + (sorted[above] - sorted[below]) * (place - below);
  });
}

function median(values) {
  return quantiles(values, [0.5])[0];
}

function argmin(values) {
  return values.reduce((best, value, i) => (value < values[best] ? i : best), 0);
}
