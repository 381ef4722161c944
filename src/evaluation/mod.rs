//! Does a principle do what its author meant? Tests of principles, what runs tell of them, and how two
//! runs compare.
//!
//! A test is put through the very verdict step of a run: a chain whose draft is the test's response, with
//! the same pack, form and probability. [`Suite`] makes and runs these chains, [`Report`] reads figures
//! off their verdicts. [`Coverage`] and
//! [`Comparison`] read the chains of stored runs, and [`agreement`] what people say of their verdicts.

mod agreement;
mod comparison;
mod coverage;
pub mod effect;
mod report;
mod stress;
mod suite;

#[cfg(test)]
mod tests;

pub use agreement::{BestThreshold, Judged, PrincipleAgreement, agreement};
pub use comparison::{Asked, Comparison, Counts, Outcome, Pair, PairFindings, Side, Split, Totals};
pub use coverage::{Coverage, Findings, Found, PrincipleCoverage, Retrigger, Trace};
pub use report::{Figures, Overall, PrincipleReport, Report};
pub use stress::{PairStress, PrinciplePair, STRESS_ROUNDS, Stress, StressPrompt, pairs};
pub use suite::{Case, Suite, TestResult, trial_of};
