"""Laws that theory predicts for learning rate, batch and momentum, as closed forms with their constants.

========================  =======================================================================
``lmo``                   bound on methods with a linear minimisation oracle, and its optima
``burn_in``               the same bound with its burn-in term, at a momentum that is not tuned
``paths``                 the same bound with a tuned momentum: batches may grow at many rates
``contours``              batch against steps at equal performance, and what a wrong setting costs
``decay``                 the bound with decoupled weight decay
``transfer``              the BST scaling of batch and step size
``three_term``            the three-term loss law and its best batch
``shapes``                exponents in width and depth as exponents in size and aspect
``saturation``            a learning rate that stops rising above a critical batch
``schedule_bounds``       two numbers of a schedule's shape, and what they say of the learning rate
``measured``              how the best learning rate moves in a finished sweep, to compare
========================  =======================================================================

Every formula says where it comes from, in one of these words:

* *found in a source*: read in the paper, or in its authors' code;
* *found in a secondary source*: read in code, a review or a post about the paper;
* *derived here*: algebra of this project;
* *checked numerically*: compared here with a minimisation that knows nothing of the closed form;
* *from memory*: neither.

No full text of arXiv 2603.15958 was found, so the wording of its theorems was not read. What is called
Theorem 1 to 3 has the exponents that secondary sources give under these names; the constants are derived
here from the bound in ``lmo``.

Units: samples, batch and steps satisfy samples = batch * steps. Samples may be sequences or tokens, as long
as the batch is in the same unit and the constants are per that unit. ``alpha`` is 1 - momentum. Arguments
broadcast. Everything is NumPy; only ``measured`` calls SciPy, and imports it when called.
"""
