/* bayeslaw/law/terms.py: the law's table, evaluated. LAW has its rows. */

const law = {
  value_of(monomials, x) {
    return monomials.reduce(
      (sum, [coefficient, names]) => sum + names.reduce((product, name) => product * (x[name] ?? 0), coefficient),
      0,
    );
  },

  sum_of(terms, p, x) {
    return terms.reduce(
      (sum, { parameter, sign, of }) =>
        parameter in p ? sum + sign * p[parameter] * law.value_of(of, x) : sum,
      0,
    );
  },

  /* Whether a draw has parameters of the basin's shape that drift. */
  drifts(p) {
    return Object.values(LAW.shapes).some((terms) => terms.some(({ parameter }) => parameter in p));
  },

  /* A draw's parameters with those of the basin's shape as they are at x. */
  drifted(p, x) {
    const drift = ([name, terms]) => [name, p[name] + law.sum_of(terms, p, x)];
    return { ...p, ...Object.fromEntries(Object.entries(LAW.shapes).map(drift)) };
  },

  optimum_of(name, p, x) {
    const { terms, range } = LAW.optima[name];
    const total = law.sum_of(terms, p, x) + (p[`shift_${name}`] ?? 0);
    return range ? law.within(total, range) : total;
  },

  within(x, [low, high]) {
    const softplus = (t) => Math.max(t, 0) + Math.log1p(Math.exp(-Math.abs(t)));
    return x + EDGE * (softplus((low - x) / EDGE) - softplus((x - high) / EDGE));
  },

  to_coordinate(name, value) {
    const { offset, sign } = LAW.optima[name];
    return Math.log(offset + sign * value);
  },

  from_coordinate(name, coordinate) {
    const { offset, sign } = LAW.optima[name];
    const value = sign * (Math.exp(coordinate) - offset);
    return offset > 0 && value < NOTHING ? 0 : value;
  },

  /* Bounds of the coordinate that keep the value at or above 0. */
  at_zero(name) {
    const { offset, sign } = LAW.optima[name];
    if (offset <= 0) return [-Infinity, Infinity];
    return sign > 0 ? [Math.log(offset), Infinity] : [-Infinity, Math.log(offset)];
  },
};

/* bayeslaw/law/smoothness.py */

const smoothness = {
  correlation(x, y) {
    const square = ([name, length]) => ((x[name] - y[name]) / length) ** 2;
    const r = Math.sqrt(5 * Object.entries(LENGTHS).reduce((sum, each) => sum + square(each), 0));
    return (1 + r + (r * r) / 3) * Math.exp(-r);
  },

  beyond(places, here) {
    if (!places.length) return 0;
    const outside = (name) => {
      const fitted = places.map((place) => place[name]);
      return Math.max(here[name] - Math.max(...fitted), Math.min(...fitted) - here[name], 0);
    };
    return Object.keys(LENGTHS).reduce((sum, name) => sum + outside(name), 0);
  },

  /* In draw i; `known` holds its numbers at [mode][draw]. */
  deviation(known, i, variances, across, smooth, white, normal, wandered) {
    let [centre, left] = [0, smooth * smooth + white * white];
    for (let k = 0; k < across.length; k++) {
      const weight = (smooth * smooth * across[k]) / (smooth * smooth * variances[k] + white * white);
      centre += weight * known[k][i];
      left -= smooth * smooth * weight * across[k];
    }
    return centre + Math.sqrt(Math.max(left, 0) + wandered) * normal;
  },
};

/* bayeslaw/law/surface.py, one draw at a time: p holds one number a parameter. Names and symbols as there. */

const surface = {
  pseudo_huber(x, curvature, knee) {
    return (curvature * x * x) / (1 + Math.sqrt(1 + (knee * x) ** 2));
  },

  linex(x, curvature, skew) {
    const t = Math.min(Math.max(skew * x, -60), 12);
    const ratio = Math.abs(t) < 1e-3 ? 0.5 + t / 6 : (Math.expm1(t) - t) / (t * t);
    return curvature * x * x * ratio;
  },

  ridge(v, rho, rho_high) {
    const t = v / RIDGE_WIDTH;
    const soft = RIDGE_WIDTH * (Math.max(t, 0) + Math.log1p(Math.exp(-Math.abs(t))) - Math.LN2);
    return rho * v + (rho_high - rho) * soft;
  },

  /* lr_excess in two halves, since the first is the same for every learning rate at a batch. */
  lr_curvature(p, v) {
    const twist = Math.min(Math.max(p.twist * v, -TWIST_MAX), TWIST_MAX);
    return Math.exp(p.lr_curvature + twist);
  },

  lr_excess(u, lr_curvature, knee) {
    return surface.pseudo_huber(u, lr_curvature, u < 0 ? knee : 0);
  },

  batch_excess(p, v) {
    return surface.linex(v, Math.exp(p.batch_curvature), p.batch_skew);
  },

  log_level(p, x) {
    const { n, d } = x;
    const share = 1 / (1 + Math.exp(-p.share));
    const line = -p.slope_n * n - p.slope_d * d;
    const curve = 0.5 * p.curve_nn * n * n + p.curve_nd * n * d + 0.5 * p.curve_dd * d * d;
    const log_ratio = (line + curve - ((0.5 * (1 - share)) / share) * line * line) / share;
    const offset = law.sum_of(LAW.offset, p, x) + (p.shift_offset ?? 0);
    const bounded = Math.min(Math.max(log_ratio, -50), 50);
    return p.level + offset + Math.log1p(share * Math.expm1(bounded));
  },

  fading(p, { n, d }) {
    return Math.exp(-p.fade_n * n - p.fade_d * d);
  },

  side_excess(gap, log_curvature) {
    return surface.pseudo_huber(gap, Math.exp(log_curvature), 1);
  },

  noise_scale(p, excess) {
    return Math.exp(p.log_noise) + Math.exp(p.log_noise_slope) * excess;
  },
};
