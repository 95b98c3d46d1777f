//! Kubeconfigs and clients per identity. Does I/O: writes files, asks the API server for tokens.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

use super::ControlPlane;
use crate::identity::{self, ADMIN, Credential, Identity};
use crate::manifests::Manifests;
use crate::pki::Pki;

impl ControlPlane {
    /// A kubeconfig file for an identity.
    pub async fn kubeconfig(&self, identity: &Identity) -> Result<PathBuf> {
        let config = self.config(identity).await?;
        let folder = self.dir.join("kubeconfigs");
        std::fs::create_dir_all(&folder).with_context(|| format!("create {folder:?}"))?;
        let path = folder.join(format!("{}.yaml", identity.slug()));
        let text = serde_yaml::to_string(&config).context("write a kubeconfig")?;
        // Another thread may be reading the file of the same identity, so it is replaced as a whole.
        let fresh =
            tempfile::NamedTempFile::new_in(&folder).with_context(|| format!("write in {folder:?}"))?;
        std::fs::write(fresh.path(), text).with_context(|| format!("write {path:?}"))?;
        fresh.persist(&path).with_context(|| format!("write {path:?}"))?;
        Ok(path)
    }

    /// A client for an identity. It does not retry: what the API server says is what the caller gets.
    ///
    /// A client belongs to the runtime that made it, so every test asks for its own.
    pub async fn client(&self, identity: &Identity) -> Result<Client> {
        client_for(self.config(identity).await?).await
    }

    /// A client of the administrator.
    pub async fn admin(&self) -> Result<Client> {
        client_for(identity::kubeconfig(&self.server, Some(&self.pki.ca_pem()), &self.masters()?)).await
    }

    /// A client of the operator's `ServiceAccount`.
    pub async fn operator(&self) -> Result<Client> {
        self.client(&Identity::operator()).await
    }

    async fn config(&self, identity: &Identity) -> Result<Value> {
        let credential = match identity {
            Identity::Admin => self.masters()?,
            Identity::User { name, groups } => certificate(&self.pki, name, groups)?,
            Identity::ServiceAccount { namespace, name } => {
                Credential::Token(self.token(namespace, name).await?)
            }
        };
        Ok(identity::kubeconfig(&self.server, Some(&self.pki.ca_pem()), &credential))
    }

    fn masters(&self) -> Result<Credential> {
        certificate(&self.pki, ADMIN, &["system:masters".to_owned()])
    }

    /// A token that outlasts every test, for an account that is made if it is absent.
    async fn token(&self, namespace: &str, name: &str) -> Result<String> {
        let admin = self.admin().await?;
        let objects = vec![
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}),
        ];
        let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), namespace);
        if accounts.get_opt(name).await.context("read a ServiceAccount")?.is_none() {
            Manifests::from_values(objects, namespace)?.apply(&admin).await?;
        }
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                expiration_seconds: Some(30 * 24 * 3600),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let answer = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await
            .with_context(|| format!("request a token for {namespace}/{name}"))?;
        answer.status.and_then(|status| status.token).context("an answer without a token")
    }
}

fn certificate(pki: &Pki, name: &str, groups: &[String]) -> Result<Credential> {
    let pair = pki.user(name, groups)?;
    Ok(Credential::Certificate { cert: pair.cert, key: pair.key })
}

async fn client_for(config: Value) -> Result<Client> {
    let config: Kubeconfig = serde_json::from_value(config).context("read a kubeconfig")?;
    let mut config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default())
        .await
        .context("read a kubeconfig")?;
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    Client::try_from(config).context("make a client")
}
