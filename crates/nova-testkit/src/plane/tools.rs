//! kubectl, Helm and YAML against a control plane. Does I/O: runs programs, applies objects.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::{Component, ControlPlane};
use crate::identity::Identity;
use crate::manifests::Manifests;

impl ControlPlane {
    /// Runs `kubectl` as the administrator and returns what it prints.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String> {
        self.kubectl_as(&Identity::Admin, args).await
    }

    /// Runs `kubectl` as an identity and returns what it prints.
    pub async fn kubectl_as(&self, identity: &Identity, args: &[&str]) -> Result<String> {
        let kubeconfig = self.kubeconfig(identity).await?;
        let output = tokio::process::Command::new(self.kubectl_path())
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(args)
            .output()
            .await
            .context("run kubectl")?;
        if !output.status.success() {
            bail!("kubectl {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Renders a chart with its CRDs. Nothing is installed.
    pub async fn helm_template(
        &self,
        chart: &Path,
        release: &str,
        namespace: &str,
        values: &Value,
    ) -> Result<Manifests> {
        let file = tempfile::NamedTempFile::new_in(&self.dir).context("write values")?;
        std::fs::write(file.path(), values.to_string()).context("write values")?;
        let output = tokio::process::Command::new(self.helm_path())
            .args(["template", release, "--namespace", namespace, "--include-crds", "--values"])
            .arg(file.path())
            .arg(chart)
            .output()
            .await
            .context("run helm")?;
        if !output.status.success() {
            bail!("helm template {chart:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Manifests::from_yaml(&String::from_utf8_lossy(&output.stdout), namespace)
    }

    /// Installs a chart as release `kubenova` in `kubenova-system`, with its CRDs, and makes the namespace.
    ///
    /// Workloads are left out: here the operator runs as a process, and KWOK would only pretend to run its pod.
    pub async fn install_chart(&self, chart: &Path, values: &Value) -> Result<Manifests> {
        let admin = self.admin().await?;
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kubenova-system"}});
        Manifests::from_values(vec![namespace], "kubenova-system")?.apply(&admin).await?;
        let manifests = self.helm_template(chart, "kubenova", "kubenova-system", values).await?;
        let manifests = manifests.filter(|object| {
            let kind = object.types.as_ref().map(|types| types.kind.as_str()).unwrap_or_default();
            !["Deployment", "StatefulSet", "DaemonSet", "Job", "Pod"].contains(&kind)
        });
        manifests.apply(&admin).await?;
        if manifests
            .objects()
            .iter()
            .any(|object| object.types.as_ref().is_some_and(|types| types.kind == "CustomResourceDefinition"))
        {
            // The garbage collector looks for new kinds every thirty seconds only. A fresh one knows them at once.
            self.stop(Component::ControllerManager).await?;
            self.start_component(Component::ControllerManager).await?;
        }
        Ok(manifests)
    }

    /// Applies YAML documents as the administrator.
    pub async fn apply(&self, yaml: &str) -> Result<()> {
        Manifests::from_yaml(yaml, "default")?.apply(&self.admin().await?).await
    }
}
