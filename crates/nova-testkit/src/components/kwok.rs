//! KWOK: simulated nodes, and the lives, good and bad, of the pods on them. Does I/O only to write stage files.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{Launch, flags, kubernetes::Site};

/// Nodes with this annotation are simulated; any other node is left to its kubelet.
const SIMULATED: (&str, &str) = ("kwok.x-k8s.io/node", "fake");

/// The lives of pods: what each is made of is told in the files.
const LIVES: &[(&str, &str)] = &[
    ("pod-good.yaml", include_str!("../../lives/pod-good.yaml")),
    ("pod-image-pull-error.yaml", include_str!("../../lives/pod-image-pull-error.yaml")),
    ("pod-crash-loop.yaml", include_str!("../../lives/pod-crash-loop.yaml")),
    ("pod-never-ready.yaml", include_str!("../../lives/pod-never-ready.yaml")),
];

/// KWOK with its own stages for nodes and with ours for pods.
pub fn kwok(site: &Site<'_>, port: u16, kubeconfig: &Path) -> Result<Launch> {
    let dir = site.dir.join("lives");
    fs::create_dir_all(&dir).with_context(|| format!("create {dir:?}"))?;
    let mut args = flags(&[
        ("kubeconfig", kubeconfig.display().to_string()),
        ("manage-nodes-with-annotation-selector", format!("{}={}", SIMULATED.0, SIMULATED.1)),
        ("node-lease-duration-seconds", "40".to_owned()),
        ("server-address", format!("127.0.0.1:{port}")),
        ("cidr", "10.200.0.0/16".to_owned()),
    ]);
    for path in site.built.assets.stages()? {
        args.push(format!("--config={}", path.display()));
    }
    for (name, text) in LIVES {
        let path = dir.join(name);
        fs::write(&path, text).with_context(|| format!("write {path:?}"))?;
        args.push(format!("--config={}", path.display()));
    }
    Ok(Launch::new(&site.built.kwok, args))
}

/// `count` simulated nodes with room for everything a test may start.
pub fn nodes(count: usize) -> Vec<Value> {
    (1..=count)
        .map(|number| {
            let name = format!("simulated-{number}");
            json!({
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {
                    "name": name,
                    "annotations": {SIMULATED.0: SIMULATED.1},
                    "labels": {
                        "kubernetes.io/hostname": name,
                        "kubernetes.io/os": "linux",
                        "kubernetes.io/arch": "amd64",
                        "kubenova.io/simulated": "true",
                    },
                },
            })
        })
        .collect()
}
