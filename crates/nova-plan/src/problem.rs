//! What stands in the way of an object, told so that a person can act on it. No I/O.

#![allow(
    clippy::needless_pass_by_value,
    reason = "callers hand over texts and references alike; asking for references would only add noise to them"
)]

use nova_api::conditions::{BlockerClass, Code, ConditionType, Reason};

/// When it is worth looking again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// When something changes that is watched.
    OnChange,
    /// After a while, longer each time: a request failed, or the object in the way is not watched.
    Backoff,
    /// When somebody changes the object itself or what it names.
    Never,
}

/// One thing that keeps an object from being Ready: the leaf, its own words, and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The stage that does not hold because of it.
    pub stage: ConditionType,
    /// Why, from the closed list.
    pub reason: Reason,
    /// Error code, where it is an error.
    pub code: Option<Code>,
    /// Who has to act.
    pub class: BlockerClass,
    /// The object that blocks: `<Kind> [<namespace>/]<name>`.
    pub object: String,
    /// What that object says.
    pub message: String,
    /// A command or who does what.
    pub fix: String,
    /// When it is worth looking again.
    pub retry: Retry,
}

impl Problem {
    /// A problem of the platform side, without code or fix yet.
    #[must_use]
    pub fn new(stage: ConditionType, reason: Reason, object: impl ToString, message: impl ToString) -> Self {
        Self {
            stage,
            reason,
            code: None,
            class: BlockerClass::Platform,
            object: object.to_string(),
            message: message.to_string(),
            fix: String::new(),
            retry: Retry::OnChange,
        }
    }

    /// Work that goes on by itself.
    #[must_use]
    pub fn progress(stage: ConditionType, object: impl ToString, message: impl ToString) -> Self {
        Self {
            class: BlockerClass::Transient,
            fix: "none needed; it goes on by itself".into(),
            ..Self::new(stage, Reason::Progressing, object, message)
        }
    }

    /// A spec that cannot be carried out until its author changes it.
    #[must_use]
    pub fn invalid(stage: ConditionType, object: impl ToString, message: impl ToString) -> Self {
        Self {
            code: Some(Code::Kn422),
            class: BlockerClass::User,
            retry: Retry::Never,
            ..Self::new(stage, Reason::Invalid, object, message)
        }
    }

    /// Something the spec names that is not there (yet).
    #[must_use]
    pub fn missing(stage: ConditionType, object: impl ToString, message: impl ToString) -> Self {
        Self { code: Some(Code::Kn404), ..Self::new(stage, Reason::DependencyMissing, object, message) }
    }

    /// Sets the error code.
    #[must_use]
    pub fn code(mut self, code: Code) -> Self {
        self.code = Some(code);
        self
    }

    /// Sets who has to act.
    #[must_use]
    pub fn class(mut self, class: BlockerClass) -> Self {
        self.class = class;
        self
    }

    /// Sets the way out.
    #[must_use]
    pub fn fix(mut self, fix: impl ToString) -> Self {
        self.fix = fix.to_string();
        self
    }

    /// Marks that trying again cannot help.
    #[must_use]
    pub fn terminal(mut self) -> Self {
        self.retry = Retry::Never;
        self
    }

    /// Marks that only trying again can tell.
    #[must_use]
    pub fn backoff(mut self) -> Self {
        self.retry = Retry::Backoff;
        self
    }

    /// True where trying again cannot help.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        self.retry == Retry::Never
    }

    /// True for a step of ordinary work, which nobody has to act on.
    #[must_use]
    pub fn is_progress(&self) -> bool {
        matches!(self.reason, Reason::Progressing | Reason::RolloutInProgress | Reason::Deleting)
    }

    /// Who acts, in words.
    #[must_use]
    pub fn actor(&self) -> &'static str {
        match self.class {
            BlockerClass::User => "author of the object",
            BlockerClass::Platform => "platform team",
            BlockerClass::Transient => "nobody",
            BlockerClass::Bug => "KubeNova maintainers",
        }
    }
}
