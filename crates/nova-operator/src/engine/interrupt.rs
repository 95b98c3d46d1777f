//! Why a pass stops before its end. No I/O.

use nova_plan::Problem;

/// Why a pass could not finish.
#[derive(Debug)]
pub enum Interrupt {
    /// To be told in status.
    Problem(Box<Problem>),
    /// To be told in status, of a child that somebody else changes again and again; what else there is to do goes on.
    Contested(Box<Problem>),
    /// Several to be told in status, the leading one first.
    Problems(Vec<Problem>),
    /// A race, or a cache or an authoriser that is a moment behind: look again, status stays.
    Requeue,
}

impl From<Problem> for Interrupt {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

impl Interrupt {
    /// Nothing where there are no problems.
    pub fn unless_empty(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self::Problems(problems)) }
    }
}

/// A deletion that goes on by itself counts as done where nobody waits for its end.
pub fn ignore_in_progress(deletion: Result<(), Interrupt>) -> Result<(), Interrupt> {
    match deletion {
        Err(Interrupt::Problem(problem)) if problem.is_progress() => Ok(()),
        other => other,
    }
}
