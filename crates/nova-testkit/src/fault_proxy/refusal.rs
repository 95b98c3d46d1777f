//! Answers that an API server gives when it does not do what it was asked. No I/O.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use super::request::Asked;

/// A refusal, made out as `Status` with the words of the API server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refusal {
    code: StatusCode,
    retry_after: Option<u64>,
}

impl Refusal {
    const fn of(code: StatusCode) -> Self {
        Self { code, retry_after: None }
    }

    /// 409: somebody has written meanwhile.
    pub const CONFLICT: Self = Self::of(StatusCode::CONFLICT);
    /// 403: the right is missing.
    pub const FORBIDDEN: Self = Self::of(StatusCode::FORBIDDEN);
    /// 410: the version is too old, list again.
    pub const GONE: Self = Self::of(StatusCode::GONE);
    /// 500: a fault of the API server.
    pub const INTERNAL: Self = Self::of(StatusCode::INTERNAL_SERVER_ERROR);
    /// 503: not now.
    pub const UNAVAILABLE: Self = Self::of(StatusCode::SERVICE_UNAVAILABLE);

    /// 429: too many requests, come back after so many seconds.
    #[must_use]
    pub const fn throttled(seconds: u64) -> Self {
        Self { code: StatusCode::TOO_MANY_REQUESTS, retry_after: Some(seconds) }
    }

    fn status(self, asked: &Asked) -> Value {
        let Asked { group, resource, name, .. } = asked;
        let kind = asked.kind();
        let (reason, message) = match self.code {
            StatusCode::CONFLICT => (
                "Conflict",
                format!(
                    "Operation cannot be fulfilled on {kind} {name:?}: the object has been modified; please apply your \
                     changes to the latest version and try again"
                ),
            ),
            StatusCode::FORBIDDEN => (
                "Forbidden",
                format!(
                    "{kind} is forbidden: User \"proxied\" cannot {} resource {resource:?} in API group {group:?} at \
                     the cluster scope",
                    asked.verb.map(|verb| format!("{verb:?}").to_lowercase()).unwrap_or_default()
                ),
            ),
            StatusCode::GONE => ("Expired", "too old resource version: 1 (2)".to_owned()),
            StatusCode::TOO_MANY_REQUESTS => (
                "TooManyRequests",
                "the server has received too many requests and has asked us to try again later".to_owned(),
            ),
            StatusCode::SERVICE_UNAVAILABLE => {
                ("ServiceUnavailable", "the server is currently unable to handle the request".to_owned())
            }
            _ => ("InternalError", "Internal error occurred: injected by the fault proxy".to_owned()),
        };
        let mut details = json!({"group": group, "kind": resource, "name": name});
        if let Some(seconds) = self.retry_after {
            details["retryAfterSeconds"] = json!(seconds);
        }
        json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "details": details,
            "code": self.code.as_u16(),
        })
    }

    /// As the answer to a request.
    pub(super) fn answer(self, asked: &Asked) -> Response<Body> {
        let mut response = json_answer(self.status(asked).to_string());
        *response.status_mut() = self.code;
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    /// As the only event of a watch.
    pub(super) fn event(self, asked: &Asked) -> Response<Body> {
        json_answer(format!("{}\n", json!({"type": "ERROR", "object": self.status(asked)})))
    }
}

/// A success with this JSON.
pub(super) fn json_answer(text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
