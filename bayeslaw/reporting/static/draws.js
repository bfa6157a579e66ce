/* Draws out of the page (bayeslaw/reporting/draws.py packs them), one object of parameters a draw. */

const PAGE = JSON.parse(document.getElementById("data").textContent);
const LAW = PAGE.law;
const { RIDGE_WIDTH, TWIST_MAX, EDGE, LENGTHS, WANDER } = PAGE.constants;
const { MAX_EXCESS, NOTHING, SAME_SIZE, TOLERANCE, FAR, ASIDE, ALLOWANCE, RISKY } = PAGE.constants;

/* name -> Float64Array, one number a draw. */
async function unpacked(block) {
  const bytes = Uint8Array.from(atob(block.gzip), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const planes = new Uint8Array(await new Response(stream).arrayBuffer());
  const count = planes.length / 4;
  const byte = (plane, i) => planes[plane * count + i] * 256 ** plane;
  const steps = (i) => byte(0, i) + byte(1, i) + byte(2, i) + byte(3, i);
  const row_of = (row) =>
    Float64Array.from(
      { length: PAGE.draws },
      (_, i) => block.lowest[row] + block.step[row] * steps(row * PAGE.draws + i),
    );
  return Object.fromEntries(block.names.map((name, row) => [name, row_of(row)]));
}

const groups = new Map();

/* What a prediction needs of one study (null: none named) and optimizer; unpacked once. */
function group_of(study, optimizer) {
  const key = JSON.stringify([study, optimizer]);
  if (!groups.has(key)) groups.set(key, loaded(study, optimizer));
  return groups.get(key);
}

async function loaded(study, optimizer) {
  const of_study = PAGE.studies.find((each) => each.name === study);
  const packed = of_study.groups.find((each) => each.optimizer === optimizer);
  const [common, parameters, families] = await Promise.all(
    [PAGE.common, of_study.parameters, packed.parameters].map(unpacked),
  );
  const known = packed.deviations && Object.entries(packed.deviations.known);
  const with_shifts = async (each) => ({ ...each, shifts: await unpacked(each.shifts) });
  return {
    study,
    optimizer,
    tried: packed.tried,
    only_batch: packed.only_batch,
    doubts_of_covariates: of_study.doubts_of_covariates,
    p: one_object_a_draw({ ...families, ...parameters, ...common }),
    normals: common,
    noise: parameters.noise,
    cells: await Promise.all(packed.cells.map(with_shifts)),
    sizes: await Promise.all(of_study.sizes.map(with_shifts)),
    deviations: known && {
      ...packed.deviations,
      known: Object.fromEntries(await Promise.all(known.map(async ([k, v]) => [k, Object.values(await unpacked(v))]))),
    },
    doubts: [...PAGE.doubts, ...packed.doubts],
    doubts_of_extras: packed.doubts_of_extras,
  };
}

function one_object_a_draw(columns) {
  const names = Object.keys(columns);
  return Array.from({ length: PAGE.draws }, (_, i) => {
    return Object.fromEntries(names.map((name) => [name, columns[name][i]]));
  });
}
