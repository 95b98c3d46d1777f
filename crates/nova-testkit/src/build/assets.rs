//! Renders the charts of Capsule and Vela out of the module cache into the build cache. Does I/O: runs Go and Helm.
//!
//! Rendering once keeps Go, Helm and YAML out of the way of a start: what is kept is JSON.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::component::{copy_tree, fingerprint, pinned_version, tool_module};
use super::{cache, go};

/// Stands for the address of Capsule's webhook server in the rendered manifests.
pub const CAPSULE_URL: &str = "https://capsule.invalid";
/// Stands for the certificate authority of Capsule's webhook server, base64 of PEM.
pub const CAPSULE_CA: &str = "CAPSULE-CA-BUNDLE";

/// Raised when what is rendered changes without a change of the values below.
const FORMAT: &str = "2";

/// What a chart renders to, and the arguments that it gives to its program.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Rendered {
    /// Everything but the workload itself.
    pub objects: Vec<Value>,
    /// The arguments of the workload's first container.
    pub args: Vec<String>,
}

/// The rendered texts of one build.
#[derive(Clone, Debug)]
pub struct Assets {
    dir: PathBuf,
}

impl Assets {
    pub(super) fn open(root: &Path, key: &str) -> Self {
        Self { dir: folder(root, key) }
    }

    /// Capsule's chart with the values that KubeNova's documentation recommends, or with its defaults.
    pub fn capsule(&self, recommended: bool) -> Result<Rendered> {
        self.read(if recommended { "capsule-recommended.json" } else { "capsule-defaults.json" })
    }

    /// Vela's chart with its definitions and CRDs.
    pub fn vela(&self) -> Result<Rendered> {
        self.read("vela.json")
    }

    /// KWOK's own stages: nodes become and stay ready, pods of jobs complete, deleted pods go.
    pub fn stages(&self) -> Result<Vec<PathBuf>> {
        STAGES.iter().map(|(name, _)| Ok(self.dir.join(name))).collect()
    }

    fn read(&self, name: &str) -> Result<Rendered> {
        let path = self.dir.join(name);
        let text = fs::read(&path).with_context(|| format!("read {path:?}"))?;
        serde_json::from_slice(&text).with_context(|| format!("read {path:?}"))
    }
}

const STAGES: &[(&str, &str)] = &[
    ("node-initialize.yaml", "kustomize/stage/node/fast/node-initialize.yaml"),
    ("node-heartbeat.yaml", "kustomize/stage/node/heartbeat-with-lease/node-heartbeat-with-lease.yaml"),
    ("pod-complete.yaml", "kustomize/stage/pod/fast/pod-complete.yaml"),
    ("pod-delete.yaml", "kustomize/stage/pod/fast/pod-delete.yaml"),
];

/// Changes whenever the pinned modules or the values do.
pub fn key() -> Result<String> {
    let values = [capsule_values(true)?, capsule_values(false)?, vela_values()?].map(|v| v.to_string());
    let mut extra: Vec<&str> = vec![FORMAT];
    extra.extend(values.iter().map(String::as_str));
    fingerprint(&["capsule", "kubevela", "kwok", "helm"], &extra)
}

pub fn present(root: &Path, key: &str) -> bool {
    folder(root, key).is_dir()
}

fn folder(root: &Path, key: &str) -> PathBuf {
    root.join(format!("assets-{key}"))
}

/// The values that the documentation recommends: the files that users are given.
const CAPSULE_RECOMMENDED: &str = include_str!("../../../../charts/kubenova/recommended/capsule-values.yaml");
const VELA_RECOMMENDED: &str = include_str!("../../../../charts/kubenova/recommended/kubevela-values.yaml");

/// What every installation of Capsule for KubeNova sets, and what its documentation recommends on top.
fn capsule_values(recommended: bool) -> Result<Value> {
    let mut values = json!({
        "certManager": {"generateCertificates": false},
        "crds": {"inline": true},
        "global": {"jobs": {"postInstall": {"enabled": false}, "preDelete": {"enabled": false}}},
        "webhooks": {"service": {"url": CAPSULE_URL, "caBundle": CAPSULE_CA}},
        "manager": {"options": {"administrators": [
            {"kind": "ServiceAccount", "name": "system:serviceaccount:kubenova-system:kubenova-operator"}
        ]}}
    });
    if recommended {
        merge(&mut values, serde_yaml::from_str(CAPSULE_RECOMMENDED).context("read capsule-values.yaml")?);
    }
    Ok(values)
}

fn vela_values() -> Result<Value> {
    let mut values: Value = serde_yaml::from_str(VELA_RECOMMENDED).context("read kubevela-values.yaml")?;
    merge(&mut values, json!({"admissionWebhooks": {"enabled": false}}));
    Ok(values)
}

/// Lays values over others, as Helm does: maps are merged, everything else is replaced.
fn merge(values: &mut Value, over: Value) {
    match (values, over) {
        (Value::Object(below), Value::Object(above)) => {
            for (key, value) in above {
                merge(below.entry(key).or_insert(Value::Null), value);
            }
        }
        (below, above) => *below = above,
    }
}

/// Renders everything into the cache. The caller holds the builder's lock.
pub fn bake(root: &Path, key: &str, helm: &Path) -> Result<()> {
    let staged = cache::stage(root, &folder(root, key))?;
    let out = staged.path();

    let capsule = go::module_dir(&tool_module("capsule"), "github.com/projectcapsule/capsule")?;
    let chart = out.join("capsule-chart");
    copy_tree(&capsule.join("charts/capsule"), &chart)?;
    let version = pinned_version("capsule", "github.com/projectcapsule/capsule")?;
    prepare(&chart, &version)?;
    for (name, recommended) in [("capsule-recommended.json", true), ("capsule-defaults.json", false)] {
        let rendered = render(helm, &chart, "capsule", "capsule-system", &capsule_values(recommended)?, out)?;
        write_json(&out.join(name), &rendered)?;
    }

    let vela = go::module_dir(&tool_module("kubevela"), "github.com/oam-dev/kubevela")?;
    let chart = out.join("vela-chart");
    copy_tree(&vela.join("charts/vela-core"), &chart)?;
    prepare(&chart, &pinned_version("kubevela", "github.com/oam-dev/kubevela")?)?;
    let rendered = render(helm, &chart, "vela", "vela-system", &vela_values()?, out)?;
    write_json(&out.join("vela.json"), &rendered)?;

    let kwok = go::module_dir(&tool_module("kwok"), "sigs.k8s.io/kwok")?;
    for (name, source) in STAGES {
        let source = kwok.join(source);
        let text = fs::read(&source).with_context(|| format!("read {source:?}"))?;
        fs::write(out.join(name), text).with_context(|| format!("write {name:?}"))?;
    }
    staged.publish()
}

/// Takes the chart's dependencies out, for Helm refuses to render while one is absent, even a disabled one, and
/// sets its version, as the projects do when they publish it.
fn prepare(chart: &Path, version: &str) -> Result<()> {
    let path = chart.join("Chart.yaml");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path:?}"))?;
    let mut meta: Value = serde_yaml::from_str(&text).with_context(|| format!("read {path:?}"))?;
    if let Some(meta) = meta.as_object_mut() {
        meta.remove("dependencies");
        meta.insert("version".to_owned(), json!(version.trim_start_matches('v')));
        meta.insert("appVersion".to_owned(), json!(version));
    }
    write_json(&path, &meta)?;
    let lock = chart.join("Chart.lock");
    if lock.exists() {
        fs::remove_file(&lock).with_context(|| format!("remove {lock:?}"))?;
    }
    Ok(())
}

fn render(
    helm: &Path,
    chart: &Path,
    release: &str,
    namespace: &str,
    values: &Value,
    out: &Path,
) -> Result<Rendered> {
    let file = out.join("values.json");
    write_json(&file, values)?;
    let output = Command::new(helm)
        .args(["template", release, "--namespace", namespace, "--include-crds", "--no-hooks", "--values"])
        .arg(&file)
        .arg(chart)
        .output()
        .with_context(|| format!("run {helm:?}"))?;
    if !output.status.success() {
        bail!("helm template {chart:?} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8(output.stdout).context("helm wrote something else than text")?;
    // Vela's list of add-on catalogues is not YAML to a strict reader, and nobody here installs an add-on.
    let wanted = text
        .split("\n---\n")
        .filter(|document| !document.contains("# Source: vela-core/templates/addon_registry.yaml"));
    let documents = wanted
        .map(|document| {
            serde_yaml::from_str::<Option<Value>>(document).with_context(|| format!("read {document:.200}"))
        })
        .collect::<Result<Vec<_>>>()
        .with_context(|| format!("read what {chart:?} renders to"))?;
    let documents = documents.into_iter().flatten().collect();
    split(documents, namespace).with_context(|| format!("{chart:?}"))
}

/// Parts the workload from the rest: it runs as a process here, and nothing answers behind its services.
fn split(documents: Vec<Value>, namespace: &str) -> Result<Rendered> {
    let mut args = None;
    let mut objects = Vec::new();
    let mut names = std::collections::BTreeSet::new();
    for document in documents {
        match document["kind"].as_str() {
            None | Some("Service") => {}
            Some("Deployment") => {
                let first = &document["spec"]["template"]["spec"]["containers"][0]["args"];
                args = Some(
                    serde_json::from_value(first.clone()).context("the arguments of the first container")?,
                );
            }
            Some(kind) => {
                let name = document["metadata"]["name"].as_str().unwrap_or_default();
                let place = document["metadata"]["namespace"].as_str().unwrap_or(namespace);
                // Capsule's CRDs come twice, plain and with their conversion; the chart's own rendering has both.
                if names.insert((kind.to_owned(), place.to_owned(), name.to_owned())) {
                    objects.push(document);
                } else if kind == "CustomResourceDefinition" {
                    let name = name.to_owned();
                    objects.retain(|known| {
                        known["kind"] != "CustomResourceDefinition" || known["metadata"]["name"] != name
                    });
                    objects.push(document);
                }
            }
        }
    }
    Ok(Rendered { objects, args: args.context("the chart has no Deployment")? })
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec(value).with_context(|| format!("write {path:?}"))?;
    fs::write(path, text).with_context(|| format!("write {path:?}"))
}
