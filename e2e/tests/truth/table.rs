//! The table of troubles of an app, and how each is to be told. No I/O.

use e2e::object::{image, manifest};
use serde_json::{Value, json};

/// When a trouble can be known.
pub enum Known {
    /// From the object itself.
    Written,
    /// From a pod of the app, once its status holds this.
    Pod(&'static str),
    /// From the app's Deployment, once its status holds this.
    Deployment(&'static str),
    /// From the app's Application, once its status holds this.
    Application(&'static str),
}

/// A trouble.
pub struct Case {
    pub name: &'static str,
    pub source: Value,
    pub known: Known,
    pub reason: &'static str,
    pub code: Option<&'static str>,
    /// Beginning of the blocker's object.
    pub blocks: &'static str,
    pub class: &'static str,
    /// A word of the leaf itself, and one of the fix.
    pub words: &'static str,
    pub fix: &'static str,
    pub stalled: bool,
    /// Merge patch of `spec.source` that does what the fix says.
    pub heal: Value,
}

fn requesting(cpu: &str) -> Value {
    let amounts = json!({"cpu": cpu, "memory": "32Mi"});
    json!({"kind": "containerImage", "containerImage": {"image": "nginx", "tag": "1",
        "resources": {"requests": amounts, "limits": amounts}}})
}

fn template(name: &str, parameters: &Value) -> Value {
    json!({"kind": "velaTemplate", "velaTemplate": {"template": name, "parameters": parameters}})
}

/// A Deployment as a user would write it.
pub fn deployment(name: &str, tag: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
        "replicas": 1, "progressDeadlineSeconds": 4, "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "web", "image": format!("nginx:{tag}")}]}}}})
}

fn not_delivered(name: &'static str, kind: &'static str, member: &Value) -> Case {
    Case {
        name,
        source: json!({"kind": kind, kind: member}),
        known: Known::Written,
        reason: "CapabilityMissing",
        code: Some("KN-422"),
        blocks: "NovaApp ",
        class: "user",
        words: "is not delivered by this version of KubeNova",
        fix: "containerImage, velaTemplate or kubeManifest",
        stalled: false,
        heal: json!({"kind": "containerImage", kind: null, "containerImage": {"image": "nginx", "tag": "1"}}),
    }
}

/// What most cases have in common.
fn common(name: &'static str, source: Value, known: Known) -> Case {
    Case {
        name,
        source,
        known,
        reason: "Unhealthy",
        code: Some("KN-422"),
        blocks: "Pod tn-truth-app-shop/",
        class: "user",
        words: "",
        fix: "",
        stalled: false,
        heal: json!({"containerImage": {"tag": "1"}}),
    }
}

/// Apps whose pods do not get well.
fn ill_pods() -> Vec<Case> {
    vec![
        Case {
            reason: "SourceUnavailable",
            words: "ImagePullBackOff: Back-off pulling image",
            fix: "correct image, tag or credentialsSecretRef in the source of NovaApp tn-truth-app-shop/image",
            ..common("image", image("bad-image"), Known::Pod("ImagePullBackOff"))
        },
        Case {
            words: "CrashLoopBackOff: container crash exited with code 1",
            fix: "kubectl -n tn-truth-app-shop logs crash-",
            ..common("crash", image("crash-loop"), Known::Pod("CrashLoopBackOff"))
        },
        Case {
            reason: "RolloutInProgress",
            code: None,
            words: "it runs but is not ready: containers with unready status: [never]",
            fix: "kubectl -n tn-truth-app-shop describe pod never-",
            ..common("never", image("never-ready"), Known::Pod("ContainersNotReady"))
        },
        Case {
            reason: "RolloutFailed",
            words: "Deployment tn-truth-app-shop/late gave up waiting: ProgressDeadlineExceeded",
            fix: "kubectl -n tn-truth-app-shop logs late-",
            heal: manifest(&deployment("late", "1")),
            ..common(
                "late",
                manifest(&deployment("late", "never-ready")),
                Known::Deployment("ProgressDeadlineExceeded"),
            )
        },
        Case {
            reason: "SourceUnavailable",
            words: "ImagePullBackOff",
            fix: "correct image",
            heal: manifest(&deployment("bare", "1")),
            ..common("bare", manifest(&deployment("bare", "bad-image")), Known::Pod("ImagePullBackOff"))
        },
    ]
}

/// Apps that cannot be rolled out at all.
fn refused() -> Vec<Case> {
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "grab"},
        "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]});
    vec![
        Case {
            reason: "DependencyMissing",
            code: Some("KN-404"),
            blocks: "ComponentDefinition vela-system/webservce",
            words: "no such Vela template",
            fix: "spec.source.velaTemplate.template",
            heal: template("webservice", &json!({"image": "nginx:1"})),
            ..common("template", template("webservce", &json!({"image": "nginx:1"})), Known::Written)
        },
        Case {
            reason: "RolloutFailed",
            blocks: "Application tn-truth-app-shop/parameter",
            words: "incomplete value string",
            fix: "correct spec.source of NovaApp",
            stalled: true,
            heal: json!({"velaTemplate": {"parameters": {"image": "nginx:1", "imge": null}}}),
            ..common(
                "parameter",
                template("webservice", &json!({"imge": "nginx:1"})),
                Known::Application("incomplete value"),
            )
        },
        Case {
            reason: "Forbidden",
            code: Some("KN-403"),
            blocks: "Application tn-truth-app-shop/forbidden",
            words: "roles.rbac.authorization.k8s.io \"grab\" is forbidden",
            fix: "take that object out of spec.source",
            stalled: true,
            heal: manifest(&deployment("forbidden", "1")),
            ..common("forbidden", manifest(&role), Known::Application("is forbidden"))
        },
        Case {
            reason: "QuotaExceeded",
            code: Some("KN-429"),
            blocks: "Deployment tn-truth-app-shop/greedy",
            words: "exceeded quota: kubenova-quota, requested: requests.cpu=2900m",
            fix: "lower what NovaApp tn-truth-app-shop/greedy requests",
            heal: requesting("100m"),
            ..common("greedy", requesting("2900m"), Known::Deployment("exceeded quota"))
        },
        Case {
            reason: "Invalid",
            blocks: "Deployment tn-truth-app-shop/toobig",
            words: "maximum cpu usage per Container is 3, but limit is 5",
            fix: "describe limitrange",
            heal: requesting("100m"),
            ..common("toobig", requesting("5"), Known::Deployment("maximum cpu usage"))
        },
    ]
}

/// Every case.
pub fn cases() -> Vec<Case> {
    let mut all = ill_pods();
    all.extend(refused());
    all.extend([
        not_delivered(
            "helm",
            "helmHttp",
            &json!({"repoUrl": "https://charts.example.com", "chart": "x", "version": "1.0.0"}),
        ),
        not_delivered(
            "oci",
            "helmOci",
            &json!({"registry": "oci://registry.example.com/charts", "chart": "x", "version": "1.0.0"}),
        ),
        not_delivered(
            "git",
            "gitRepo",
            &json!({"url": "https://git.example.com/x.git", "revision": "main", "path": "./"}),
        ),
    ]);
    all
}
