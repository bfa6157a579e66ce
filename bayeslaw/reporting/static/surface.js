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

  log_lr_optimum(p, n, d) {
    return p.alpha - p.gamma * n - p.delta * d - p.bend * n * n;
  },

  log_batch_optimum(p, n, d) {
    return p.beta + p.epsilon * d + p.epsilon_n * n;
  },

  log_decay_optimum(p, n) {
    return surface.within(p.lambda - p.mu * n, DECAY_RANGE);
  },

  log_momentum_gap(p, n) {
    return surface.within(p.zeta - p.kappa * n, MOMENTUM_GAP_RANGE);
  },

  within(x, [low, high]) {
    const softplus = (t) => Math.max(t, 0) + Math.log1p(Math.exp(-Math.abs(t)));
    return x + EDGE * (softplus((low - x) / EDGE) - softplus((x - high) / EDGE));
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

  log_level(p, n, d) {
    const share = 1 / (1 + Math.exp(-p.share));
    const line = -p.slope_n * n - p.slope_d * d;
    const curve = 0.5 * p.curve_nn * n * n + p.curve_nd * n * d + 0.5 * p.curve_dd * d * d;
    const log_ratio = (line + curve - ((0.5 * (1 - share)) / share) * line * line) / share;
    const offset = p.offset + p.offset_n * n + p.offset_d * d;
    const bounded = Math.min(Math.max(log_ratio, -50), 50);
    return p.level + offset + Math.log1p(share * Math.expm1(bounded));
  },

  fading(p, n, d) {
    return Math.exp(-p.fade_n * n - p.fade_d * d);
  },

  side_excess(gap, log_curvature) {
    return surface.pseudo_huber(gap, Math.exp(log_curvature), 1);
  },

  noise_scale(p, excess) {
    return Math.exp(p.log_noise) + Math.exp(p.log_noise_slope) * excess;
  },
};
