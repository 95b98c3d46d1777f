//! What an attacker can make of each identity: apps that reach for more, writes to what is the operator's, and
//! Capsule's own user groups. Whatever is tried, nothing comes of it, and status says the truth.

use std::time::Duration;

use anyhow::{Result, bail};
use e2e::{World, any, condition, eventually, is_ready, message, quickstart, reason};
use futures::future::try_join_all;
use kube::Client;
use kube::ResourceExt;
use kube::api::{
    DeleteParams, DynamicObject, GetParams, ListParams, Patch, PatchParams, PostParams, Request,
};
use nova_testkit::Identity;
use serde_json::{Value, json};

use crate::{PATIENCE, within};

const NAMESPACE: &str = "tn-mal-app-shop";

/// An app that reaches for more, and what has to become of it: code and reason, or nothing where it may be.
struct Attack {
    name: &'static str,
    source: Value,
    traits: Value,
    ends: Option<(&'static str, &'static str)>,
}

const FORBIDDEN: Option<(&str, &str)> = Some(("KN-403", "Forbidden"));
const INVALID: Option<(&str, &str)> = Some(("KN-422", "Invalid"));

fn image() -> Value {
    json!({"kind": "containerImage", "containerImage": {"image": "nginx", "tag": "1.29"}})
}

fn template(template: &str, parameters: &Value) -> Value {
    json!({"kind": "velaTemplate", "velaTemplate": {"template": template, "parameters": parameters}})
}

fn manifest(api_version: &str, kind: &str, rest: &Value) -> Value {
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "evil"}});
    if let (Some(object), Some(rest)) = (object.as_object_mut(), rest.as_object()) {
        object.extend(rest.clone());
    }
    json!({"kind": "kubeManifest", "kubeManifest": {"manifest": object.to_string()}})
}

fn by_trait(kind: &str, properties: &Value) -> Value {
    json!([{"type": kind, "properties": properties}])
}

#[allow(clippy::too_many_lines, reason = "it is a list")]
fn attacks() -> Vec<Attack> {
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

pub async fn an_app_reaches_no_further_than_its_deployer(world: &World) -> Result<()> {
    let documents = quickstart("mal")?;
    world.apply_until_accepted(&documents[..4], PATIENCE).await?;
    // The plan's number of apps is no part of this.
    world
        .apply("{apiVersion: kubenova.io/v1alpha1, kind: NovaPlan, metadata: {name: roomy}, spec: {}}")
        .await?;
    world
        .apply("{apiVersion: kubenova.io/v1alpha1, kind: NovaTenant, metadata: {name: mal}, spec: {plan: roomy, deletionPolicy: Cascade}}")
        .await?;
    world.ready("mal", PATIENCE).await?;
    let mallory = world.plane.client(&Identity::user("mallory@mal.example", &["mal-devs"])).await?;
    let apps = within(&mallory, "kubenova.io/v1alpha1", "NovaApp", "novaapps", NAMESPACE);
    try_join_all(attacks().iter().map(|attack| {
        let apps = apps.clone();
        async move { attempt(&apps, attack).await }
    }))
    .await?;
    nothing_came_of_it(world).await
}

/// Runs alone, because the tests read lists as the operator does.
pub async fn an_app_too_deep_to_read_is_told_and_hides_no_other(world: &World) -> Result<()> {
    let mallory = world.plane.client(&Identity::user("mallory@mal.example", &["mal-devs"])).await?;
    let bottomless = Bottomless::create(&mallory).await?;
    let apps = within(&mallory, "kubenova.io/v1alpha1", "NovaApp", "novaapps", NAMESPACE);
    attempt(&apps, &Attack { name: "beside", source: image(), traits: json!([]), ends: None }).await?;
    bottomless.is_told_and_deleted().await
}

/// An app whose values lie deeper in each other than readers of JSON go, this one included: so it is handled as text.
struct Bottomless {
    client: Client,
    path: Request,
}

impl Bottomless {
    async fn create(client: &Client) -> Result<Self> {
        let path = Request::new(format!("/apis/kubenova.io/v1alpha1/namespaces/{NAMESPACE}/novaapps"));
        let deep = format!("{}1{}", r#"{"a":"#.repeat(300), "}".repeat(300));
        let app = format!(
            r#"{{"apiVersion":"kubenova.io/v1alpha1","kind":"NovaApp","metadata":{{"name":"bottomless"}},"spec":{{
                "source":{{"kind":"velaTemplate","velaTemplate":{{"template":"webservice","parameters":{deep}}}}}}}}}"#
        );
        client.request_text(path.create(&PostParams::default(), app.into_bytes())?).await?;
        Ok(Self { client: client.clone(), path })
    }

    async fn is_told_and_deleted(&self) -> Result<()> {
        let get = || self.path.get("bottomless", &GetParams::default()).map_err(|e| e.to_string());
        eventually("what cannot be read is told so", PATIENCE, async || {
            let text = self.client.request_text(get()?).await.map_err(|e| e.to_string())?;
            let told = ["KN-422", "it cannot be read", "50 levels"].iter().all(|word| text.contains(word));
            if told { Ok(()) } else { Err(text.split("\"status\"").last().unwrap_or_default().to_owned()) }
        })
        .await?;
        self.client.request_text(self.path.delete("bottomless", &DeleteParams::default())?).await?;
        println!("| bottomless | told, and in nobody's way |");
        Ok(())
    }
}

async fn attempt(apps: &kube::Api<DynamicObject>, attack: &Attack) -> Result<()> {
    let Attack { name, source, traits, ends } = attack;
    let app = json!({
        "apiVersion": "kubenova.io/v1alpha1", "kind": "NovaApp",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"source": source, "traits": traits},
    });
    apps.create(&PostParams::default(), &serde_json::from_value(app)?).await?;
    let told = eventually(&format!("the attack {name} ends as {ends:?}"), PATIENCE, async || {
        let live = apps.get(name).await.map_err(|e| e.to_string())?;
        let code = live.data["status"]["lastError"]["code"].as_str().unwrap_or_default();
        let is = match ends {
            None => is_ready(&live),
            Some((wanted, why)) => !is_ready(&live) && code == *wanted && reason(&live) == *why,
        };
        let told = format!("{code} {}: {}", reason(&live), message(&live));
        if is { Ok(told) } else { Err(told) }
    })
    .await?;
    println!("| {name} | {told} |");
    Ok(())
}

/// Looks at the cluster for anything that the attacks could have made.
async fn nothing_came_of_it(world: &World) -> Result<()> {
    for (group, version, kind, plural) in [
        ("", "v1", "Secret", "secrets"),
        ("", "v1", "ServiceAccount", "serviceaccounts"),
        ("", "v1", "ConfigMap", "configmaps"),
        ("", "v1", "Namespace", "namespaces"),
        ("rbac.authorization.k8s.io", "v1", "Role", "roles"),
        ("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings"),
        ("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles"),
        ("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings"),
        ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
        ("core.oam.dev", "v1beta1", "ComponentDefinition", "componentdefinitions"),
        ("kubenova.io", "v1alpha1", "NovaTenant", "novatenants"),
    ] {
        let all = any(&world.admin, group, version, kind, plural).list(&ListParams::default()).await?;
        let made: Vec<_> =
            all.iter().map(ResourceExt::name_any).filter(|n| n.contains("evil") || n == "stolen").collect();
        assert!(made.is_empty(), "{kind} out of an attack: {made:?}");
    }
    for namespace in ["kube-system", "tn-blue-app-shop", "tn-mal"] {
        let deployments = within(&world.admin, "apps/v1", "Deployment", "deployments", namespace);
        let names: Vec<_> =
            deployments.list(&ListParams::default()).await?.iter().map(ResourceExt::name_any).collect();
        assert!(!names.iter().any(|n| n.starts_with("to-")), "{namespace} has {names:?}");
    }
    for pod in within(&world.admin, "v1", "Pod", "pods", NAMESPACE).list(&ListParams::default()).await? {
        let spec = pod.data["spec"].to_string();
        let bad = ["hostPath", "\"hostNetwork\":true", "\"privileged\":true"];
        assert!(!bad.iter().any(|b| spec.contains(b)), "{} runs: {spec}", pod.name_any());
    }
    Ok(())
}

fn refused<T>(what: &str, answer: Result<T, kube::Error>) -> Result<()> {
    match answer {
        Err(kube::Error::Api(status)) if [403, 422].contains(&status.code) => {
            println!("| {what} | {} {} |", status.code, status.message);
            Ok(())
        }
        Err(error) => bail!("{what}: {error}"),
        Ok(_) => bail!("{what} was allowed"),
    }
}

pub async fn nobody_writes_what_is_the_operators(world: &World) -> Result<()> {
    world.apply_until_accepted(&quickstart("mole")?, PATIENCE).await?;
    world.ready("mole", PATIENCE).await?;
    let dev = world.plane.client(&Identity::user("dan@mole.example", &["mole-devs"])).await?;
    let owner = world.plane.client(&Identity::user("alice@mole.example", &[])).await?;
    let (home, app_namespace) = ("tn-mole", "tn-mole-app-shop");
    let nova =
        |client, kind, plural, namespace| within(client, "kubenova.io/v1alpha1", kind, plural, namespace);
    let merge = PatchParams::default();
    let apps = nova(&dev, "NovaApp", "novaapps", app_namespace);
    let healthy = json!({"status": {"phase": "Deployed", "conditions": []}});
    refused("a dev writes a status", apps.patch_status("web", &merge, &Patch::Merge(&healthy)).await)?;
    let projects = nova(&owner, "NovaProject", "novaprojects", home);
    refused(
        "an owner writes a status",
        projects.patch_status("shop", &merge, &Patch::Merge(&healthy)).await,
    )?;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "mine", "namespace": app_namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "kubenova-sandbox-editor"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "alice@mole.example"}],
    });
    let bindings =
        within(&owner, "rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings", app_namespace);
    refused(
        "an owner binds a role",
        bindings.create(&PostParams::default(), &serde_json::from_value(binding)?).await,
    )?;
    let tenants = any(&owner, "kubenova.io", "v1alpha1", "NovaTenant", "novatenants");
    let more = json!({"spec": {"quotas": {"cpu": 1000}}});
    refused("an owner raises the quota", tenants.patch("mole", &merge, &Patch::Merge(&more)).await)?;
    let everybody = json!({"spec": {"access": [{"kind": "Group", "name": "system:authenticated", "role": "tenantOwner"}]}});
    refused("an owner lets everybody in", projects.patch("shop", &merge, &Patch::Merge(&everybody)).await)?;
    let hidden = json!({"metadata": {"labels": {"kubenova.io/tenant": "blue"}}});
    let applications = within(&dev, "core.oam.dev/v1beta1", "Application", "applications", app_namespace);
    refused("a dev edits the Application", applications.patch("web", &merge, &Patch::Merge(&hidden)).await)?;

    // The finalizer that holds a project is put back when an owner takes it off.
    let off = json!({"metadata": {"finalizers": null}});
    projects.patch("shop", &merge, &Patch::Merge(&off)).await?;
    eventually("the finalizer is back", Duration::from_secs(2), async || {
        let live = projects.get("shop").await.map_err(|e| e.to_string())?;
        if live.finalizers().is_empty() { Err("it is off".to_owned()) } else { Ok(()) }
    })
    .await?;

    // A finalizer of the developer's own holds the app, and with it the project; both say so, and neither is lost.
    let hold = json!({"metadata": {"finalizers": ["example.com/hold"]}});
    apps.patch("web", &merge, &Patch::Merge(&hold)).await?;
    let cascade = json!({"spec": {"deletionPolicy": "Cascade"}});
    projects.patch("shop", &merge, &Patch::Merge(&cascade)).await?;
    projects.delete("shop", &DeleteParams::default()).await?;
    let told = eventually("the project tells what holds it", PATIENCE, async || {
        let live = projects.get("shop").await.map_err(|e| e.to_string())?;
        let told = message(&live).to_owned();
        let blocked = condition(&live, "Ready").is_some_and(|c| c["status"] == "False");
        if blocked && told.contains("NovaApp") && told.contains("web") { Ok(told) } else { Err(told) }
    })
    .await?;
    println!("| a dev holds an app by a finalizer | {told} |");
    apps.patch("web", &merge, &Patch::Merge(&json!({"metadata": {"finalizers": null}}))).await?;
    eventually("the project is gone", PATIENCE, async || match projects.get_opt("shop").await {
        Ok(None) => Ok(()),
        Ok(Some(live)) => Err(message(&live).to_owned()),
        Err(error) => Err(error.to_string()),
    })
    .await
}

/// Members of a Capsule user group may create and patch namespaces as far as Capsule is concerned.
pub async fn a_member_of_capsules_user_group_cannot_reach_namespaces(world: &World) -> Result<()> {
    let identity = Identity::user("alice@red.example", &["projectcapsule.dev"]);
    let alice = world.plane.client(&identity).await?;
    let namespaces = any(&alice, "", "v1", "Namespace", "namespaces");
    let lowered = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}});
    let stripped = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": null}}});
    for patch in [lowered, stripped] {
        let answer =
            namespaces.patch("tn-red-sandbox-dev", &PatchParams::default(), &Patch::Merge(&patch)).await;
        refused("an owner lowers the Pod Security of a sandbox", answer)?;
    }
    for name in ["tn-blue-app-squat", "tn-victim"] {
        let squat = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": {"capsule.clastix.io/tenant": "red"}}});
        let answer = namespaces.create(&PostParams::default(), &serde_json::from_value(squat)?).await;
        refused("an owner takes the name of another's namespace", answer)?;
    }
    Ok(())
}
