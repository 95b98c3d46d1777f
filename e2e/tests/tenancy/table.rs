//! Apps that reach for more than they may have, and what has to become of each. No I/O.

use e2e::object;
use serde_json::{Value, json};

/// An app that reaches for more, and what has to become of it: code and reason, or nothing where it may be.
pub struct Attack {
    pub name: &'static str,
    pub source: Value,
    pub traits: Value,
    pub ends: Option<(&'static str, &'static str)>,
}

const FORBIDDEN: Option<(&str, &str)> = Some(("KN-403", "Forbidden"));
const INVALID: Option<(&str, &str)> = Some(("KN-422", "Invalid"));

/// The source of a harmless app.
pub fn image() -> Value {
    object::image("1.29")
}

fn template(template: &str, parameters: &Value) -> Value {
    json!({"kind": "velaTemplate", "velaTemplate": {"template": template, "parameters": parameters}})
}

fn manifest(api_version: &str, kind: &str, rest: &Value) -> Value {
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "evil"}});
    if let (Some(object), Some(rest)) = (object.as_object_mut(), rest.as_object()) {
        object.extend(rest.clone());
    }
    object::manifest(&object)
}

fn by_trait(kind: &str, properties: &Value) -> Value {
    json!([{"type": kind, "properties": properties}])
}

/// Every attack.
#[allow(clippy::too_many_lines, reason = "it is a list")]
pub fn attacks() -> Vec<Attack> {
    let none = json!([]);
    let attack = |name, source, traits: &Value, ends| Attack { name, source, traits: traits.clone(), ends };
    let hostpath = json!({"image": "nginx", "volumeMounts": {"hostPath": [{"name": "h", "mountPath": "/h", "path": "/"}]}});
    let rule = json!({"name": "evil", "create": true, "privileges": [{"scope": "cluster", "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]});
    let to_admin = json!({
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "mallory"}],
    });
    let pod = json!({"hostNetwork": true, "containers": [{"name": "a", "image": "nginx"}]});
    let on_host = json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod}}});
    let rbac = "rbac.authorization.k8s.io/v1";
    let elsewhere = json!({"metadata": {"name": "evil", "namespace": "kube-system"}});
    let moved =
        |namespace: &str| by_trait("json-merge-patch", &json!({"metadata": {"namespace": namespace}}));
    let stolen = json!({"secret": [{"name": "stolen", "mountPath": "/s", "data": {"a": "Yg=="}}]});
    let env = json!([{"name": "X", "secretKeyRef": {"name": "../../tn-blue/secrets/s", "key": "k"}}]);
    let merged = |patch: &Value| by_trait("json-merge-patch", patch);
    let deep = |levels: usize| (0..levels).fold(json!("x"), |inside, _| json!({"a": inside}));
    let many: Vec<Value> = (0..6000).map(|n| json!(n)).collect();
    let critical = json!({"spec": {"template": {"spec": {"priorityClassName": "system-node-critical"}}}});
    let held = json!({"metadata": {"name": "evil", "finalizers": ["example.com/never"]}});
    let labelled = |key: &str, value: &str| by_trait("labels", &json!({key: value}));
    vec![
        attack("deep", template("webservice", &json!({"image": "nginx", "x": deep(60)})), &none, INVALID),
        attack("vast", template("webservice", &json!({"image": "nginx", "x": many})), &none, INVALID),
        attack("held", manifest("v1", "ConfigMap", &held), &none, INVALID),
        attack(
            "held-by-trait",
            image(),
            &merged(&json!({"metadata": {"finalizers": ["example.com/never"]}})),
            FORBIDDEN,
        ),
        attack(
            "signed-over",
            image(),
            &by_trait("annotations", &json!({"app.oam.dev/shared-by": "tn-blue-app-shop/web"})),
            FORBIDDEN,
        ),
        attack(
            "to-neighbours-app",
            image(),
            &merged(&json!({"metadata": {"labels": {"app.oam.dev/namespace": "tn-blue-app-shop"}}})),
            None,
        ),
        attack(
            "other-cluster",
            image(),
            &labelled("app.oam.dev/cluster", "elsewhere"),
            Some(("KN-404", "DependencyMissing")),
        ),
        attack("critical", image(), &merged(&critical), Some(("KN-429", "QuotaExceeded"))),
        attack("hostpath", template("webservice", &hostpath), &none, FORBIDDEN),
        attack(
            "privileged",
            image(),
            &by_trait("securitycontext", &json!({"privileged": true, "allowPrivilegeEscalation": true})),
            FORBIDDEN,
        ),
        attack("cluster-sa", image(), &by_trait("service-account", &rule), FORBIDDEN),
        attack("to-system", image(), &moved("kube-system"), FORBIDDEN),
        attack("to-neighbour", image(), &moved("tn-blue-app-shop"), FORBIDDEN),
        attack("to-own-home", image(), &moved("tn-mal"), FORBIDDEN),
        attack("secret-by-trait", image(), &by_trait("storage", &stolen), FORBIDDEN),
        attack(
            "secret-by-path",
            json!({"kind": "containerImage", "containerImage": {"image": "nginx", "tag": "1.29", "env": env}}),
            &none,
            Some(("KN-422", "RolloutFailed")),
        ),
        attack("raw", template("raw", &json!({"apiVersion": "v1", "kind": "Secret"})), &none, INVALID),
        attack(
            "raw-by-version",
            template("raw@v1", &json!({"apiVersion": "v1", "kind": "Secret"})),
            &none,
            Some(("KN-404", "DependencyMissing")),
        ),
        attack(
            "ref-objects",
            template("ref-objects", &json!({"urls": ["http://127.0.0.1/x.yaml"]})),
            &none,
            INVALID,
        ),
        attack("a-secret", manifest("v1", "Secret", &json!({})), &none, FORBIDDEN),
        attack("an-account", manifest("v1", "ServiceAccount", &json!({})), &none, FORBIDDEN),
        attack("a-binding", manifest(rbac, "RoleBinding", &to_admin), &none, FORBIDDEN),
        attack("a-cluster-binding", manifest(rbac, "ClusterRoleBinding", &to_admin), &none, FORBIDDEN),
        attack("a-namespace", manifest("v1", "Namespace", &json!({})), &none, FORBIDDEN),
        attack(
            "a-network",
            manifest(
                "networking.k8s.io/v1",
                "NetworkPolicy",
                &json!({"spec": {"podSelector": {}, "ingress": [{}]}}),
            ),
            &none,
            FORBIDDEN,
        ),
        attack(
            "an-application",
            manifest("core.oam.dev/v1beta1", "Application", &json!({"spec": {"components": []}})),
            &none,
            FORBIDDEN,
        ),
        attack(
            "a-definition",
            manifest(
                "core.oam.dev/v1beta1",
                "ComponentDefinition",
                &json!({"spec": {"workload": {"type": "autodetects.core.oam.dev"}}}),
            ),
            &none,
            FORBIDDEN,
        ),
        attack(
            "a-nova-tenant",
            manifest("kubenova.io/v1alpha1", "NovaTenant", &json!({"spec": {}})),
            &none,
            FORBIDDEN,
        ),
        attack("elsewhere", manifest("v1", "ConfigMap", &elsewhere), &none, INVALID),
        attack("on-the-host", manifest("apps/v1", "Deployment", &on_host), &none, FORBIDDEN),
        // These two are within what an app may do: see charts/kubenova/templates/roles/deployer.yaml.
        attack(
            "as-deployer",
            image(),
            &by_trait("service-account", &json!({"name": "kubenova-deployer"})),
            None,
        ),
        attack(
            "any-host",
            image(),
            &by_trait(
                "gateway",
                &json!({"domain": "shop.blue.example", "http": {"/": 80}, "class": "nginx"}),
            ),
            None,
        ),
    ]
}
