//! Who talks to the API server: kubeconfigs for people, groups and service accounts. No I/O.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// On whose behalf a client acts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Identity {
    /// A member of `system:masters`, which no rule of RBAC restrains.
    Admin,
    /// A `ServiceAccount`, by a token from the `TokenRequest` API. It and its namespace are made if they are absent.
    ServiceAccount {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Anybody, by a client certificate signed on the spot.
    User {
        /// The user's name.
        name: String,
        /// The groups, besides `system:authenticated`.
        groups: Vec<String>,
    },
}

impl Identity {
    /// The `ServiceAccount` that the operator runs as.
    #[must_use]
    pub fn operator() -> Self {
        Self::service_account("kubenova-system", "kubenova-operator")
    }

    /// A `ServiceAccount`.
    #[must_use]
    pub fn service_account(namespace: &str, name: &str) -> Self {
        Self::ServiceAccount { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// A user with groups.
    #[must_use]
    pub fn user(name: &str, groups: &[&str]) -> Self {
        Self::User { name: name.to_owned(), groups: groups.iter().map(ToString::to_string).collect() }
    }

    /// The name as the API server's audit log writes it.
    #[must_use]
    pub fn user_name(&self) -> String {
        match self {
            Self::Admin => ADMIN.to_owned(),
            Self::ServiceAccount { namespace, name } => format!("system:serviceaccount:{namespace}:{name}"),
            Self::User { name, .. } => name.clone(),
        }
    }

    /// A file name for its kubeconfig, distinct for distinct identities.
    pub(crate) fn slug(&self) -> String {
        let text = match self {
            Self::Admin => return "admin".to_owned(),
            Self::ServiceAccount { namespace, name } => format!("sa-{namespace}-{name}"),
            Self::User { name, groups } => format!("user-{name}-{}", groups.join("-")),
        };
        let safe: String = text
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "-._".contains(c) { c } else { '_' })
            .collect();
        // Different identities may look the same once made safe; the hash of the exact one tells them apart.
        let hash = Sha256::digest(format!("{self:?}"));
        format!("{safe}-{:02x}{:02x}{:02x}", hash[0], hash[1], hash[2])
    }
}

/// The name in the administrator's certificate.
pub(crate) const ADMIN: &str = "kubernetes-admin";

/// How an identity proves itself.
pub(crate) enum Credential {
    /// A client certificate, PEM.
    Certificate { cert: String, key: String },
    /// A bearer token.
    Token(String),
    /// Nothing: whoever listens at the address speaks for itself.
    None,
}

/// A kubeconfig with one cluster, one user and one context, all named `kubenova`.
pub(crate) fn kubeconfig(server: &str, ca: Option<&str>, credential: &Credential) -> Value {
    let mut cluster = json!({"server": server});
    if let Some(ca) = ca {
        cluster["certificate-authority-data"] = base64(ca.as_bytes());
    }
    let user = match credential {
        Credential::Certificate { cert, key } => json!({
            "client-certificate-data": base64(cert.as_bytes()),
            "client-key-data": base64(key.as_bytes()),
        }),
        Credential::Token(token) => json!({"token": token}),
        Credential::None => json!({}),
    };
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "kubenova", "cluster": cluster}],
        "users": [{"name": "kubenova", "user": user}],
        "contexts": [{"name": "kubenova", "context": {"cluster": "kubenova", "user": "kubenova"}}],
        "current-context": "kubenova",
    })
}

/// Standard base64 with padding.
pub(crate) fn base64(bytes: &[u8]) -> Value {
    json!(k8s_openapi::ByteString(bytes.to_vec()))
}
