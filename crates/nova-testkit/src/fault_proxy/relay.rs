//! One request on its way: what the rules have in store for it, the API server, and its answer. Does I/O.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use futures::future::{Either, pending};
use futures::{FutureExt as _, StreamExt as _, stream};
use http_body_util::BodyExt as _;
use tokio::sync::oneshot;

use super::Shared;
use super::ledger::counts;
use super::refusal::{Refusal, json_answer};
use super::request::{Asked, Verb};
use super::rule::{Armed, Fault};

/// The connection ends here, whatever was said on it.
#[derive(Debug)]
pub(super) struct Dropped;

impl std::fmt::Display for Dropped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("connection dropped by a rule")
    }
}

impl std::error::Error for Dropped {}

/// A request with all that is needed to send it on.
struct Relayed {
    asked: Asked,
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
    body: Bytes,
}

/// Answers a request, or drops its connection.
pub(super) async fn serve<B>(shared: Arc<Shared>, request: Request<B>) -> Result<Response<Body>, Dropped>
where
    B: http_body_util::BodyExt<Data = Bytes>,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let broken = |error: anyhow::Error| (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response();
    let relayed = match read(request).await {
        Ok(relayed) => relayed,
        Err(error) => return Ok(broken(error)),
    };
    let met = shared.rules.meet(&relayed.asked);
    faulted(&shared, relayed, met.as_deref()).await.unwrap_or_else(|error| Ok(broken(error)))
}

async fn read<B>(request: Request<B>) -> Result<Relayed>
where
    B: http_body_util::BodyExt<Data = Bytes>,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let (mut parts, body) = request.into_parts();
    // These speak of the client's own connection; the upstream client sets its own.
    for name in [
        header::HOST,
        header::CONNECTION,
        header::AUTHORIZATION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
    ] {
        parts.headers.remove(name);
    }
    let (path, query) = (parts.uri.path().to_owned(), parts.uri.query().unwrap_or_default().to_owned());
    let body = body.collect().await.context("read the request")?.to_bytes();
    Ok(Relayed {
        asked: Asked::read(&parts.method, &path, &query),
        method: parts.method,
        path,
        query,
        headers: parts.headers,
        body,
    })
}

async fn faulted(
    shared: &Arc<Shared>,
    relayed: Relayed,
    met: Option<&Armed>,
) -> Result<Result<Response<Body>, Dropped>> {
    let asked = relayed.asked.clone();
    let Some(armed) = met else { return Ok(Ok(pass(shared, relayed, &Fault::Pass).await?)) };
    Ok(match &armed.fault {
        Fault::Drop => Err(Dropped),
        Fault::Answer(refusal) => Ok(refusal.answer(&asked)),
        Fault::ErrorEvent(refusal) => Ok(refusal.event(&asked)),
        Fault::OldList(n) => {
            let accept = accept_of(&relayed.headers);
            let old = shared.listings.get(&relayed.path, &relayed.query, &accept, *n);
            // Without an older list the experiment is none, and this is to be seen.
            Ok(old.map_or_else(|| Refusal::INTERNAL.answer(&asked), json_answer))
        }
        Fault::Hang => {
            armed.lifted().await;
            Ok(pass(shared, relayed, &Fault::Pass).await?)
        }
        Fault::LoseAnswer => {
            pass(shared, relayed, &armed.fault).await?;
            Err(Dropped)
        }
        Fault::Stall => Ok(stalled(&asked, pass(shared, relayed, &Fault::Pass).await?, armed).await?),
        Fault::CutAfter(time) => {
            let response = pass(shared, relayed, &Fault::Pass).await?;
            Ok(until(response, tokio::time::sleep(*time)))
        }
        Fault::Pass | Fault::Delay(_) | Fault::Kill(_) => Ok(pass(shared, relayed, &armed.fault).await?),
    })
}

/// Sends a request on, and gives the answer as it comes.
async fn pass(shared: &Arc<Shared>, relayed: Relayed, fault: &Fault) -> Result<Response<Body>> {
    let Relayed { asked, method, path, query, headers, body } = relayed;
    let whole = if query.is_empty() { path.clone() } else { format!("{path}?{query}") };
    let mut request = Request::new(body.into());
    *request.method_mut() = method.clone();
    *request.uri_mut() = whole.parse().context("the request's path")?;
    *request.headers_mut() = headers.clone();
    let delay = if let Fault::Delay(time) = fault { *time } else { Duration::ZERO };
    let lost = matches!(fault, Fault::LoseAnswer);
    let victim = match fault {
        Fault::Kill(pid) => Some(super::process(*pid)?),
        _ => None,
    };
    // The client may hang up at any moment, and its task with it. What has been sent upstream must still be
    // counted, so it goes on in a task of its own.
    let (at_work, counted) = (shared.clone(), counts(&method, &path, &query));
    let answer = tokio::spawn(async move {
        tokio::time::sleep(delay).await;
        let response = at_work.client.send(request).await.context("ask the API server")?;
        let written = counted && response.status().is_success();
        let seen = !written || at_work.ledger().record(method.as_str(), &whole, lost, victim);
        anyhow::Ok((response, seen))
    });
    let (response, seen) = answer.await.context("the request's task")??;
    if !seen {
        // The client has been killed. Nobody may ever see this answer, not even a client that survived.
        pending::<()>().await;
    }
    let (mut parts, body) = response.into_parts();
    for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
        parts.headers.remove(name);
    }
    let body = if asked.verb == Some(Verb::List) && parts.status.is_success() {
        let page = body.collect().await.context("read a list")?.to_bytes();
        shared.listings.keep(&path, &query, &accept_of(&headers), page.clone());
        Body::from(page)
    } else {
        Body::new(body)
    };
    let response = Response::from_parts(parts, body);
    if asked.verb != Some(Verb::Watch) {
        return Ok(response);
    }
    let (cut, told) = oneshot::channel::<()>();
    shared.watching(asked, cut);
    // Only a word ends it; that nobody can speak any more does not.
    Ok(until(
        response,
        told.then(|told| if told.is_ok() { Either::Left(async {}) } else { Either::Right(pending()) }),
    ))
}

fn accept_of(headers: &HeaderMap) -> String {
    headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// The same answer, whose connection is closed when `end` comes before its own end.
fn until(response: Response<Body>, end: impl Future<Output = ()> + Send + 'static) -> Response<Body> {
    type End = Pin<Box<dyn Future<Output = ()> + Send>>;
    let (parts, body) = response.into_parts();
    let data = body.into_data_stream().map(|chunk| chunk.map_err(io::Error::other)).boxed();
    let end: End = Box::pin(end);
    let data = stream::unfold(Some((data, end)), async |state| {
        let (mut data, mut end) = state?;
        tokio::select! {
            biased;
            () = &mut end => Some((Err(io::Error::other(Dropped)), None)),
            chunk = data.next() => chunk.map(|chunk| (chunk, Some((data, end)))),
        }
    });
    Response::from_parts(parts, Body::from_stream(data))
}

/// The same answer, of which only the head comes, or half of what is no watch, until the rule is lifted.
async fn stalled(asked: &Asked, response: Response<Body>, armed: &Armed) -> Result<Response<Body>> {
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let lifted = armed.lifted();
    let (first, rest) = if asked.verb == Some(Verb::Watch) {
        (Bytes::new(), body)
    } else {
        let mut whole = body.collect().await.context("read an answer")?.to_bytes();
        let first = whole.split_to(whole.len() / 2);
        (first, Body::from(whole))
    };
    let first = stream::iter((!first.is_empty()).then_some(Ok(first)));
    let rest = stream::once(lifted).flat_map({
        let mut rest = Some(rest);
        move |()| match rest.take() {
            Some(rest) => Either::Left(rest.into_data_stream()),
            None => Either::Right(stream::empty()),
        }
    });
    Ok(Response::from_parts(parts, Body::from_stream(first.chain(rest))))
}
