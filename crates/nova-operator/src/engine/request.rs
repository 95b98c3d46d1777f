//! Time limits for every request below the client, and what a failed one means. Does I/O only through the client.
//!
//! kube 5 waits for ever for the answer to a read, and for the next piece of a watch. Here each answer has to begin in
//! time, and each body has to go on: a hung list or watch ends as an error, and its watch begins anew.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Method, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use nova_plan::answers::{Cause, Refusal};
use tower::{BoxError, Layer, Service};

use super::metrics::Metrics;

/// How long a request may take.
#[derive(Debug, Clone, Copy)]
pub struct TimeLimits {
    /// Until an answer begins. A list is made by the API server before its answer begins.
    pub answer: Duration,
    /// Between two pieces of a body.
    pub body: Duration,
    /// Between two pieces of a watch. The API server sends a bookmark about every minute.
    pub watch: Duration,
}

impl Default for TimeLimits {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(30),
            body: Duration::from_secs(30),
            watch: Duration::from_secs(150),
        }
    }
}

/// Longest wait for the whole of one answer that is not a list.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for the whole of one live list, page by page.
pub const LIST_TIMEOUT: Duration = Duration::from_secs(30);

/// A client whose requests end in time.
///
/// # Errors
///
/// When the configuration cannot be used.
pub fn client(config: Config, metrics: Arc<Metrics>, limits: TimeLimits) -> Result<Client, kube::Error> {
    Ok(ClientBuilder::try_from(config)?.with_layer(&InTime { metrics, limits }).build())
}

#[derive(Clone)]
struct InTime {
    metrics: Arc<Metrics>,
    limits: TimeLimits,
}

impl<S> Layer<S> for InTime {
    type Service = InTimeService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        InTimeService { inner, in_time: self.clone() }
    }
}

#[derive(Clone)]
struct InTimeService<S> {
    inner: S,
    in_time: InTime,
}

impl<S, B> Service<Request<Body>> for InTimeService<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<InTimeBody<B>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let InTime { metrics, limits } = self.in_time.clone();
        let watched = watched(&request);
        let verb = verb(request.method(), watched.is_some());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = match tokio::time::timeout(limits.answer, answer).await {
                Ok(answer) => answer.map_err(Into::into),
                Err(_) => Err(format!("no answer began within {:?}", limits.answer).into()),
            };
            metrics.requested(verb, answer.as_ref().map_or(0, |answer| answer.status().as_u16()));
            let limit = if watched.is_some() { limits.watch } else { limits.body };
            let idle = Box::pin(tokio::time::sleep(limit));
            Ok(answer?.map(|body| InTimeBody { body: Box::pin(body), idle, limit, watched, metrics }))
        })
    }
}

/// The resource that a request watches, such as `pods` or `jobs.batch`.
fn watched(request: &Request<Body>) -> Option<String> {
    let query = request.uri().query()?;
    if !query.split('&').any(|part| part == "watch=true") {
        return None;
    }
    let mut parts = request.uri().path().trim_matches('/').split('/');
    let group = match parts.next()? {
        "apis" => parts.next()?,
        _ => "",
    };
    let plural = parts.next_back()?;
    Some(if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") })
}

fn verb(method: &Method, watch: bool) -> &'static str {
    match *method {
        _ if watch => "watch",
        Method::GET => "read",
        Method::POST => "create",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    }
}

/// A body that has to go on.
struct InTimeBody<B> {
    body: Pin<Box<B>>,
    idle: Pin<Box<tokio::time::Sleep>>,
    limit: Duration,
    watched: Option<String>,
    metrics: Arc<Metrics>,
}

impl<B> HttpBody for InTimeBody<B>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = this.body.as_mut().poll_frame(cx) {
            this.idle.as_mut().reset(tokio::time::Instant::now() + this.limit);
            if let Some(resource) = &this.watched {
                this.metrics.watch_heard(resource);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        match this.idle.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err(format!("nothing came for {:?}", this.limit).into()))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What the API server answers with instead of what was asked for, as the brain reads it.
#[must_use]
pub fn refusal(status: &kube::core::Status) -> Refusal {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    Refusal {
        code: status.code,
        reason: status.reason.clone(),
        message: status.message.clone(),
        causes: causes
            .map(|cause| Cause {
                reason: cause.reason.clone(),
                field: cause.field.clone(),
                message: cause.message.clone(),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str) -> Request<Body> {
        Request::get(uri).body(Body::empty()).unwrap()
    }

    #[test]
    fn a_watch_is_known_by_its_resource() {
        let of = |uri| watched(&request(uri));
        assert_eq!(of("/api/v1/pods?limit=5"), None);
        assert_eq!(of("/api/v1/pods?watch=true&x=y").as_deref(), Some("pods"));
        assert_eq!(
            of("/apis/core.oam.dev/v1beta1/namespaces/vela-system/componentdefinitions?watch=true")
                .as_deref(),
            Some("componentdefinitions.core.oam.dev")
        );
    }

    /// An answer whose body hangs after its first piece.
    struct Hangs(Option<Bytes>);

    impl HttpBody for Hangs {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            match self.0.take() {
                Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
                None => Poll::Pending,
            }
        }
    }

    fn in_time() -> InTime {
        InTime { metrics: Arc::default(), limits: TimeLimits::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_never_begins_and_a_body_that_hangs_end_as_errors() {
        let never =
            tower::service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Hangs>, BoxError>>());
        let mut service = in_time().layer(never);
        let started = tokio::time::Instant::now();
        assert!(service.call(request("/api/v1/pods")).await.is_err());
        assert_eq!(started.elapsed(), TimeLimits::default().answer);

        let hangs = tower::service_fn(|_: Request<Body>| async {
            Ok::<_, BoxError>(Response::new(Hangs(Some(Bytes::from_static(b"x")))))
        });
        let mut service = in_time().layer(hangs);
        for (uri, limit) in [
            ("/api/v1/pods", TimeLimits::default().body),
            ("/api/v1/pods?watch=true", TimeLimits::default().watch),
        ] {
            let mut body = Box::pin(service.call(request(uri)).await.unwrap().into_body());
            let next =
                |body: &mut Pin<Box<InTimeBody<Hangs>>>, cx: &mut Context<'_>| body.as_mut().poll_frame(cx);
            let started = tokio::time::Instant::now();
            assert!(std::future::poll_fn(|cx| next(&mut body, cx)).await.unwrap().is_ok());
            assert!(std::future::poll_fn(|cx| next(&mut body, cx)).await.unwrap().is_err());
            assert_eq!(started.elapsed(), limit, "{uri}");
        }
    }
}
