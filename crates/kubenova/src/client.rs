//! The client that the operator works with: whose identity, which cluster, how patient. Does I/O: one request.

use std::{env, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use axum::http::{HeaderValue, header::USER_AGENT};
use kube::{Client, Config};
use nova_operator::{Metrics, TimeLimits};

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest wait for the first answer, the connection included.
const FIRST_ANSWER: Duration = Duration::from_secs(10);
/// Variables by which kube lets a debugging user become someone else.
const IMPERSONATION: [&str; 2] = ["KUBE_RS_DEBUG_IMPERSONATE_USER", "KUBE_RS_DEBUG_IMPERSONATE_GROUP"];

/// A client for the cluster of the kubeconfig, or of the pod this runs in, once its API server has answered.
///
/// # Errors
///
/// When no cluster is configured, or its API server does not answer or does not know us. There is no second try: who
/// started us, the kubelet among them, sees the reason and starts us again.
pub async fn connect(metrics: Arc<Metrics>, limits: TimeLimits) -> Result<Client> {
    if let Some(name) = impersonation(|name| env::var_os(name).is_some()) {
        bail!(
            "{name} is set: the operator works under its own identity only; unset it, or give it another kubeconfig"
        );
    }
    let mut config = Config::infer().await.context(
        "no cluster to work on: neither $KUBECONFIG, nor ~/.kube/config, nor the service account of a pod can be used",
    )?;
    // The operator's queue retries, with a back-off for each object; kube would do it for minutes inside one call.
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT);
    config.headers.push((USER_AGENT, HeaderValue::from_static(USER)));
    let url = config.cluster_url.clone();
    let client = nova_operator::client(config, metrics, limits)
        .context("client cannot be made from the kubeconfig")?;
    answers(&client).await.with_context(|| format!("API server {url} cannot be used"))?;
    Ok(client)
}

/// Name that the API server's audit log shows.
const USER: &str = concat!("kubenova-operator/", env!("CARGO_PKG_VERSION"));

fn impersonation(is_set: impl Fn(&str) -> bool) -> Option<&'static str> {
    IMPERSONATION.into_iter().find(|name| is_set(name))
}

async fn answers(client: &Client) -> Result<()> {
    let Ok(answer) = tokio::time::timeout(FIRST_ANSWER, client.apiserver_version()).await else {
        bail!("no answer within {} s", FIRST_ANSWER.as_secs());
    };
    match answer {
        Ok(version) => tracing::info!(kubernetes = version.git_version, "API server answers"),
        // It knows us and is there; that /version is closed to us hinders nothing.
        Err(kube::Error::Api(status)) if status.code == 403 => tracing::info!("API server answers"),
        Err(kube::Error::Api(status)) if status.code == 401 => {
            bail!(
                "it does not accept our credentials (401): is the token or certificate expired, or for another cluster?"
            )
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn becoming_someone_else_by_the_environment_is_noticed() {
        assert_eq!(impersonation(|_| false), None);
        assert_eq!(impersonation(|name| name == IMPERSONATION[1]), Some("KUBE_RS_DEBUG_IMPERSONATE_GROUP"));
    }
}
