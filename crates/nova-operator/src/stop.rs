//! Why a pass stops, and how an answer of the API server reads as a problem. No I/O.

use std::time::Duration;

use nova_api::conditions::{BlockerClass, Code, ConditionType, Reason};
use nova_plan::Problem;

/// Why a pass could not finish.
#[derive(Debug)]
pub enum Stop {
    /// To be told in status.
    Problem(Box<Problem>),
    /// Several to be told in status, the leading one first.
    Problems(Vec<Problem>),
    /// A race that passes within moments: look again, status stays.
    Again(Duration),
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

/// What was being done when a request failed.
#[derive(Debug, Clone, Copy)]
pub struct Doing<'a> {
    /// Stage of the object.
    pub stage: ConditionType,
    /// The object of the request.
    pub object: &'a str,
}

/// Waits out another writer, a cache or an authoriser that is a moment behind.
pub const MOMENT: Duration = Duration::from_millis(100);

/// Longest wait for one answer of the API server. kube has no read timeout of its own.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A request that got no answer in time.
pub fn timed_out(doing: Doing<'_>) -> Stop {
    unreachable_api(doing, "no answer from the API server in time")
}

fn unreachable_api(doing: Doing<'_>, message: &str) -> Stop {
    Problem::new(doing.stage, Reason::BackendUnavailable, doing.object, message)
        .code(Code::Kn503)
        .class(BlockerClass::Transient)
        .fix("none needed; it is tried again")
        .into()
}

/// The webhook that did not answer, by the API server's own sentence. Other webhooks repeat in their answers what
/// people write, so the words count only where nobody else can put them.
pub fn silent_webhook(status: &kube::core::Status) -> Option<&str> {
    let rest = status.message.strip_prefix("Internal error occurred: failed calling webhook \"")?;
    rest.split_once('"').map(|(name, _)| name).filter(|_| status.code == 500)
}

/// True for a webhook of Capsule.
pub fn is_capsule(webhook: &str) -> bool {
    webhook.contains("projectcapsule.dev") || webhook.contains("capsule.clastix.io")
}

/// Reads an error as a reason to stop.
pub fn read(error: &kube::Error, doing: Doing<'_>) -> Stop {
    let kube::Error::Api(status) = error else {
        return unreachable_api(doing, &short(&error.to_string()));
    };
    let problem = |reason: Reason, code: Code| {
        Problem::new(doing.stage, reason, doing.object, short(&status.message)).code(code)
    };
    if let Some(webhook) = silent_webhook(status) {
        let (who, fix) = if is_capsule(webhook) {
            ("Capsule", nova_plan::cluster::START_CAPSULE.to_owned())
        } else {
            (webhook, format!("see why the webhook {webhook} does not answer"))
        };
        let message =
            format!("{who} does not answer, and without it this cannot be written: {}", status.message);
        return Problem { message: short(&message), ..problem(Reason::BackendUnavailable, Code::Kn503) }
            .fix(fix)
            .into();
    }
    if status.message.contains("because it is being terminated") {
        return Problem::progress(doing.stage, doing.object, "its namespace is being deleted").into();
    }
    if status.message.contains("denied the request") {
        return problem(Reason::Forbidden, Code::Kn403)
            .fix("see which admission webhook or policy refuses it")
            .into();
    }
    if status.message.contains("exceeded quota") {
        return problem(Reason::QuotaExceeded, Code::Kn429).fix("raise the quota of the namespace").into();
    }
    match status.code {
        409 => Stop::Again(MOMENT),
        404 => problem(Reason::DependencyMissing, Code::Kn404).into(),
        403 => problem(Reason::Forbidden, Code::Kn403)
            .fix("give the operator the roles of charts/kubenova")
            .into(),
        413 => problem(Reason::Invalid, Code::Kn422)
            .class(BlockerClass::User)
            .fix("make it smaller, or divide it")
            .into(),
        429 => problem(Reason::Throttled, Code::Kn429).class(BlockerClass::Transient).into(),
        400 | 422 => problem(Reason::Invalid, Code::Kn422).class(BlockerClass::Bug).fix("report it").into(),
        500.. => problem(Reason::BackendUnavailable, Code::Kn503)
            .class(BlockerClass::Transient)
            .fix("none needed; it is tried again")
            .into(),
        _ => problem(Reason::InternalError, Code::Kn500).class(BlockerClass::Bug).fix("report it").into(),
    }
}

fn short(message: &str) -> String {
    nova_api::conditions::clip(message, 600)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    const DOING: Doing<'static> = Doing { stage: ConditionType::NamespacesReady, object: "Namespace tn-a" };

    fn problem(code: u16, message: &str) -> Problem {
        let status = Status::failure(message, "").with_code(code);
        match read(&kube::Error::Api(status.boxed()), DOING) {
            Stop::Problem(problem) => *problem,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_silent_webhook_of_capsule_is_told_as_capsule() {
        let told = problem(
            500,
            "Internal error occurred: failed calling webhook \"namespaces.tenants.projectcapsule.dev\": connection refused",
        );
        assert_eq!((told.reason, told.code), (Reason::BackendUnavailable, Some(Code::Kn503)));
        assert!(told.message.starts_with("Capsule does not answer") && told.fix.contains("capsule-system"));
    }

    #[test]
    fn what_another_webhook_repeats_is_not_taken_for_a_silent_one() {
        let words = "failed calling webhook \"x.projectcapsule.dev\": connection refused";
        let told =
            problem(403, &format!("admission webhook \"vela\" denied the request: parse trait({words})"));
        assert_eq!(told.reason, Reason::Forbidden);
        let status = Status::failure(words, "").with_code(500);
        assert_eq!(silent_webhook(&status), None);
    }

    #[test]
    fn refusals_are_told_apart() {
        assert_eq!(problem(403, "namespaces is forbidden").reason, Reason::Forbidden);
        assert_eq!(problem(403, "exceeded quota: kubenova-quota").reason, Reason::QuotaExceeded);
        let dying =
            problem(403, "unable to create new content in namespace tn-a because it is being terminated");
        assert_eq!(dying.reason, Reason::Progressing);
        assert_eq!(problem(422, "is invalid").class, BlockerClass::Bug);
    }
}
