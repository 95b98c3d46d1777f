//! Serves HTTP on connections that are bounded in number, time and size. Does I/O.
//!
//! The port has no authentication, so whoever reaches it may open connections and say nothing. None of that may keep
//! the kubelet's probes waiting: a pod that does not answer them is restarted.

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::IpAddr,
    time::Duration,
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};

/// How much clients may hold.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Connections that are open at once. Beyond it one of whoever has most gives way to the new one.
    pub connections: usize,
    /// For the head of the request, from the moment of the connection on.
    pub head: Duration,
    /// For the whole connection, the answer included: each serves one request.
    pub whole: Duration,
}

/// A request of the three pages is a line and a few headers; hyper takes no smaller bound than 8 KiB.
const LONGEST_HEAD: usize = 16 * 1024;
/// Until the next try when no connection can be accepted, as without file descriptors.
const PAUSE: Duration = Duration::from_secs(1);

/// Serves until it is dropped, and every connection with it.
pub async fn serve(listener: TcpListener, router: Router, bounds: Bounds) -> io::Result<()> {
    let mut connections = JoinSet::new();
    let mut open: VecDeque<(IpAddr, AbortHandle)> = VecDeque::new();
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) if of_the_client(&error) => continue,
            Err(error) => {
                tracing::warn!(%error, "connections cannot be accepted");
                sleep(PAUSE).await;
                continue;
            }
        };
        // What has ended is forgotten here, so that nothing of it adds up.
        while connections.try_join_next().is_some() {}
        open.retain(|(_, connection)| !connection.is_finished());
        if open.len() >= bounds.connections
            && let Some((_, least)) = gives_way(&open).and_then(|place| open.remove(place))
        {
            least.abort();
        }
        open.push_back((peer.ip(), connections.spawn(answer(stream, router.clone(), bounds))));
    }
}

/// One request and its answer. What goes wrong is the client's affair: it sees its connection end.
async fn answer(stream: TcpStream, router: Router, bounds: Bounds) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .max_buf_size(LONGEST_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Ok(Err(error)) = timeout(bounds.whole, connection).await {
        tracing::debug!(%error, "connection ended early");
    }
}

/// Place of the connection that gives way to a new one: the oldest of the address that has most. So one client that
/// opens many takes them from itself, and not from the kubelet.
fn gives_way(open: &VecDeque<(IpAddr, AbortHandle)>) -> Option<usize> {
    let mut held: HashMap<IpAddr, usize> = HashMap::new();
    for (address, _) in open {
        *held.entry(*address).or_default() += 1;
    }
    let most = held.values().copied().max()?;
    open.iter().position(|(address, _)| held.get(address) == Some(&most))
}

/// The client went away before its connection was accepted.
fn of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const BOUNDS: Bounds =
        Bounds { connections: 16, head: Duration::from_millis(300), whole: Duration::from_secs(2) };
    /// For what takes no time on a machine that is not busy.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn pages() -> Router {
        Router::new()
            .route("/livez", get(async || "ok\n"))
            .route("/metrics", get(async || "x".repeat(64 << 20)))
    }

    async fn listening(bounds: Bounds) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, pages(), bounds));
        address
    }

    async fn ask(address: std::net::SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Waits until the other side has closed; how it does is its own affair.
    async fn closed(mut stream: TcpStream) {
        let mut sink = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut sink)).await.expect("it was not closed");
    }

    #[tokio::test]
    async fn half_open_connections_neither_keep_others_waiting_nor_stay() {
        // Only the bounds on number and head can close these.
        let address = listening(Bounds { whole: Duration::from_hours(1), ..BOUNDS }).await;
        let mut silent = Vec::new();
        for number in 0..200 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            if number % 2 == 0 {
                // It may have been closed already for a newer one.
                let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\n").await;
            }
            silent.push(stream);
        }
        let answer = timeout(PATIENCE, ask(address)).await.expect("no answer beside half-open connections");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok\n"), "{answer}");
        for stream in silent {
            closed(stream).await;
        }
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_let_go() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        client.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        // More than the sockets' buffers take, so it can only end by giving up.
        let served = tokio::spawn(answer(stream, pages(), BOUNDS));
        timeout(PATIENCE, served).await.expect("it is held without end").unwrap();
        drop(client);
    }

    #[tokio::test]
    async fn a_connection_serves_one_request_and_the_client_is_told() {
        let address = listening(BOUNDS).await;
        let answer = ask(address).await;
        assert!(answer.contains("connection: close"), "{answer}");
    }

    #[tokio::test]
    async fn who_holds_most_gives_way_and_of_theirs_the_oldest() {
        let mut tasks = JoinSet::new();
        let mut open = VecDeque::new();
        assert_eq!(gives_way(&open), None);
        for address in ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.2"] {
            open.push_back((address.parse().unwrap(), tasks.spawn(async {})));
        }
        assert_eq!(gives_way(&open), Some(1));
    }
}
