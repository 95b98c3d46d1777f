//! etcd, kube-apiserver, kube-controller-manager and kube-scheduler. Does I/O only to write configuration files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::json;

use super::{Launch, flags};
use crate::build::Built;
use crate::pki::Pki;

/// Where the parts of one control plane listen and keep their files.
pub struct Site<'a> {
    /// The programs.
    pub built: &'a Built,
    /// The state folder.
    pub dir: &'a Path,
    /// Keys and certificates.
    pub pki: &'a Pki,
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// etcd, in memory if the state folder is, and without waiting for a disk.
pub fn etcd(site: &Site<'_>, client: u16, peer: u16) -> Launch {
    let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
    let args = flags(&[
        ("name", "kubenova".to_owned()),
        ("data-dir", text(&site.dir.join("etcd"))),
        ("listen-client-urls", client.clone()),
        ("advertise-client-urls", client),
        ("listen-peer-urls", peer.clone()),
        ("initial-advertise-peer-urls", peer.clone()),
        ("initial-cluster", format!("kubenova={peer}")),
        ("unsafe-no-fsync", "true".to_owned()),
        ("quota-backend-bytes", (8_u64 << 30).to_string()),
        ("log-level", "warn".to_owned()),
    ]);
    Launch::new(&site.built.etcd, args)
}

/// The audit log's file.
pub fn audit_log(dir: &Path) -> PathBuf {
    dir.join("audit.log")
}

/// Every request is kept, with its body where tests compare what was written.
fn audit_policy(dir: &Path) -> Result<PathBuf> {
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted"],
        "omitManagedFields": true,
        "rules": [
            {
                "level": "Request",
                "verbs": ["create", "update", "patch", "delete", "deletecollection"],
                "resources": [
                    {"group": "kubenova.io"},
                    {"group": "rbac.authorization.k8s.io"},
                    {"group": "core.oam.dev"},
                    {"group": "capsule.clastix.io"},
                    {"group": "", "resources": ["namespaces", "namespaces/finalize", "namespaces/status"]},
                ],
            },
            {"level": "Metadata"},
        ],
    });
    write(dir, "audit-policy.json", &policy)
}

/// kube-apiserver.
pub fn apiserver(site: &Site<'_>, port: u16, etcd: u16) -> Result<Launch> {
    let pki = |name: &str| text(&site.pki.path(name));
    let mut args = flags(&[
        ("etcd-servers", format!("http://127.0.0.1:{etcd}")),
        ("bind-address", "127.0.0.1".to_owned()),
        ("advertise-address", "127.0.0.1".to_owned()),
        ("secure-port", port.to_string()),
        ("endpoint-reconciler-type", "none".to_owned()),
        ("tls-cert-file", pki("apiserver.crt")),
        ("tls-private-key-file", pki("apiserver.key")),
        ("client-ca-file", pki("ca.crt")),
        ("requestheader-client-ca-file", pki("front-proxy-ca.crt")),
        ("requestheader-allowed-names", "front-proxy-client".to_owned()),
        ("requestheader-username-headers", "X-Remote-User".to_owned()),
        ("requestheader-group-headers", "X-Remote-Group".to_owned()),
        ("requestheader-extra-headers-prefix", "X-Remote-Extra-".to_owned()),
        ("proxy-client-cert-file", pki("front-proxy.crt")),
        ("proxy-client-key-file", pki("front-proxy.key")),
        ("service-account-issuer", "https://kubernetes.default.svc.cluster.local".to_owned()),
        ("service-account-key-file", pki("sa.pub")),
        ("service-account-signing-key-file", pki("sa.key")),
        ("service-cluster-ip-range", "10.96.0.0/16".to_owned()),
        ("authorization-mode", "Node,RBAC".to_owned()),
        ("allow-privileged", "true".to_owned()),
        ("enable-admission-plugins", "NodeRestriction".to_owned()),
        ("audit-policy-file", text(&audit_policy(site.dir)?)),
        ("audit-log-path", text(&audit_log(site.dir))),
        // In megabytes. Left out, a file is put aside after a hundred, and who reads it would see the end only.
        ("audit-log-maxsize", "1000000".to_owned()),
        ("profiling", "false".to_owned()),
    ]);
    // A test run writes more than a production cluster does in the same time.
    args.extend(flags(&[
        ("max-requests-inflight", "3000".to_owned()),
        ("max-mutating-requests-inflight", "1500".to_owned()),
    ]));
    Ok(Launch::new(&site.built.kube_apiserver, args))
}

/// kube-controller-manager, quick about namespaces, quotas and garbage.
pub fn controller_manager(site: &Site<'_>, port: u16, kubeconfig: &Path) -> Launch {
    let kubeconfig = text(kubeconfig);
    let pki = |name: &str| text(&site.pki.path(name));
    let mut args = flags(&[
        ("kubeconfig", kubeconfig.clone()),
        ("authentication-kubeconfig", kubeconfig.clone()),
        ("authorization-kubeconfig", kubeconfig),
        ("bind-address", "127.0.0.1".to_owned()),
        ("secure-port", port.to_string()),
        ("leader-elect", "false".to_owned()),
        ("use-service-account-credentials", "true".to_owned()),
        ("service-account-private-key-file", pki("sa.key")),
        ("root-ca-file", pki("ca.crt")),
        ("cluster-signing-cert-file", pki("ca.crt")),
        ("cluster-signing-key-file", pki("ca.key")),
        ("kube-api-qps", "2000".to_owned()),
        ("kube-api-burst", "4000".to_owned()),
        ("profiling", "false".to_owned()),
    ]);
    for what in ["namespace", "deployment", "replicaset", "resource-quota", "service-endpoint"] {
        args.push(format!("--concurrent-{what}-syncs=20"));
    }
    Launch::new(&site.built.kube_controller_manager, args)
}

/// kube-scheduler.
pub fn scheduler(site: &Site<'_>, port: u16, kubeconfig: &Path) -> Result<Launch> {
    let config = json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "leaderElection": {"leaderElect": false},
        "clientConnection": {"kubeconfig": text(kubeconfig), "qps": 2000, "burst": 4000},
    });
    let kubeconfig = text(kubeconfig);
    let args = flags(&[
        ("config", text(&write(site.dir, "scheduler.json", &config)?)),
        ("authentication-kubeconfig", kubeconfig.clone()),
        ("authorization-kubeconfig", kubeconfig),
        ("bind-address", "127.0.0.1".to_owned()),
        ("secure-port", port.to_string()),
    ]);
    Ok(Launch::new(&site.built.kube_scheduler, args))
}

fn write(dir: &Path, name: &str, value: &serde_json::Value) -> Result<PathBuf> {
    let path = dir.join(name);
    fs::write(&path, value.to_string()).with_context(|| format!("write {path:?}"))?;
    Ok(path)
}
