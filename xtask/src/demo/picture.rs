//! What the demo shows: what was made, as a tree, and who may do what, as a table. Reads from the cluster.

use std::fmt::Write as _;

use anyhow::Result;
use e2e::any;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, ResourceExt as _};

/// Kinds of the tree: group, version, kind, plural.
const KINDS: [(&str, &str, &str, &str); 11] = [
    ("kubenova.io", "v1alpha1", "NovaProject", "novaprojects"),
    ("kubenova.io", "v1alpha1", "NovaSandbox", "novasandboxes"),
    ("kubenova.io", "v1alpha1", "NovaApp", "novaapps"),
    ("core.oam.dev", "v1beta1", "Application", "applications"),
    ("apps", "v1", "Deployment", "deployments"),
    ("", "v1", "Service", "services"),
    ("", "v1", "ResourceQuota", "resourcequotas"),
    ("", "v1", "LimitRange", "limitranges"),
    ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
    ("", "v1", "ServiceAccount", "serviceaccounts"),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings"),
];

/// Namespaces of a tenant and what is in them.
pub async fn tree(client: &Client, tenant: &str) -> Result<String> {
    let selector = ListParams::default().labels(&format!("kubenova.io/tenant={tenant}"));
    let namespaces = any(client, "", "v1", "Namespace", "namespaces").list(&selector).await?;
    let mut text = format!("NovaTenant {tenant}\n├─ Capsule Tenant {tenant}\n");
    let count = namespaces.items.len();
    for (at, namespace) in namespaces.iter().enumerate() {
        let last = at + 1 == count;
        let kind = namespace.labels().get("kubenova.io/namespace-type").map_or("", String::as_str);
        let _ =
            writeln!(text, "{} Namespace {} ({kind})", if last { "└─" } else { "├─" }, namespace.name_any());
        let lines = inside(client, &namespace.name_any()).await?;
        for (at, line) in lines.iter().enumerate() {
            let stem = if last { "   " } else { "│  " };
            let _ = writeln!(text, "{stem}{} {line}", if at + 1 == lines.len() { "└─" } else { "├─" });
        }
    }
    Ok(text)
}

/// One line for each kind, with the names.
async fn inside(client: &Client, namespace: &str) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for (group, version, kind, plural) in KINDS {
        let api = any(client, group, version, kind, plural);
        let selector = ListParams::default().fields(&format!("metadata.namespace={namespace}"));
        let names: Vec<String> = api.list(&selector).await?.iter().map(kube::ResourceExt::name_any).collect();
        if !names.is_empty() {
            lines.push(format!("{kind}: {}", names.join(", ")));
        }
    }
    Ok(lines)
}

/// What is asked: words for people, verb, group, resource, subresource, and the namespace without `tn-<tenant>`.
const QUESTIONS: [(&str, &str, &str, &str, &str, &str); 8] = [
    ("make projects", "create", "kubenova.io", "novaprojects", "", ""),
    ("write apps", "create", "kubenova.io", "novaapps", "", "-app-shop"),
    ("read pods", "list", "", "pods", "", "-app-shop"),
    ("read Secrets", "get", "", "secrets", "", "-app-shop"),
    ("exec", "create", "", "pods", "exec", "-app-shop"),
    ("edit Deployments", "patch", "apps", "deployments", "", "-app-shop"),
    ("edit Deployments", "patch", "apps", "deployments", "", "-sandbox-dev"),
    ("exec", "create", "", "pods", "exec", "-sandbox-dev"),
];

/// Asks the API server what an owner, a developer and a stranger may do.
pub async fn access(client: &Client, tenant: &str) -> Result<String> {
    let owner = format!("alice@{tenant}.example");
    let developers = format!("{tenant}-devs");
    let people = [
        ("owner", owner.as_str(), Vec::new()),
        ("developer", "bob", vec![developers]),
        ("stranger", "mallory", Vec::new()),
    ];
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let mut text = format!("  {:<22}{:<24}", "", "namespace");
    for (who, ..) in &people {
        let _ = write!(text, "{who:<11}");
    }
    text.push('\n');
    for (what, verb, group, resource, subresource, suffix) in QUESTIONS {
        let namespace = format!("tn-{tenant}{suffix}");
        let _ = write!(text, "  {what:<22}{namespace:<24}");
        for (_, user, groups) in &people {
            let review = SubjectAccessReview {
                spec: SubjectAccessReviewSpec {
                    user: Some((*user).to_owned()),
                    groups: Some(groups.iter().cloned().chain(["system:authenticated".to_owned()]).collect()),
                    resource_attributes: Some(ResourceAttributes {
                        verb: Some(verb.to_owned()),
                        group: Some(group.to_owned()),
                        resource: Some(resource.to_owned()),
                        subresource: Some(subresource.to_owned()),
                        namespace: Some(namespace.clone()),
                        ..ResourceAttributes::default()
                    }),
                    ..SubjectAccessReviewSpec::default()
                },
                ..SubjectAccessReview::default()
            };
            let answer = reviews.create(&PostParams::default(), &review).await?;
            let allowed = answer.status.is_some_and(|s| s.allowed);
            let _ = write!(text, "{:<11}", if allowed { "yes" } else { "–" });
        }
        text.push('\n');
    }
    Ok(text)
}
