//! From the source of an app to the component that delivers it: one file a source. Pure.

mod container_image;
mod git_repo;
mod helm_http;
mod helm_oci;
mod kube_manifest;
mod vela_template;

use nova_api::conditions::{BlockerClass, Code, ConditionType, Reason};
use nova_api::v1alpha1::{AppSource, FreeForm, SourceKind};
use serde_json::Value;

use crate::problem::Problem;

/// What a source becomes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Delivery {
    /// Type of the component: the name of a `ComponentDefinition` of Vela's.
    pub(super) component: String,
    /// What the component is told.
    pub(super) properties: Value,
    /// What people call the version.
    pub(super) version: String,
}

/// The app that a source is of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    /// How problems name it.
    pub(super) me: &'a str,
    /// Its name.
    pub(super) app: &'a str,
    /// Its namespace.
    pub(super) namespace: &'a str,
    /// Whether the definition that the source needs is there.
    pub(super) definition_exists: bool,
}

impl Target<'_> {
    /// A source that cannot be delivered until its author changes it.
    fn invalid(&self, message: impl ToString) -> Problem {
        Problem::invalid(ConditionType::DependenciesMet, self.me, message)
    }

    /// A source that the API takes, and that nothing delivers yet.
    fn not_delivered(&self, kind: SourceKind) -> Problem {
        Problem::new(
            ConditionType::DependenciesMet,
            Reason::CapabilityMissing,
            self.me,
            format!("source kind {kind} is not delivered by this version of KubeNova"),
        )
        .code(Code::Kn422)
        .class(BlockerClass::User)
        .fix(format!("set spec.source of {} to containerImage, velaTemplate or kubeManifest", self.me))
    }
}

/// What every source can do.
pub(super) trait Deliver {
    /// Name of the `ComponentDefinition` that has to be there before the source can be judged.
    fn needs_definition(&self) -> Option<&str> {
        None
    }

    /// What the author tells a definition. Its bounds are checked before it is parsed.
    fn free_form(&self) -> Option<&FreeForm> {
        None
    }

    /// The component, or why there is none.
    fn deliver(&self, to: &Target<'_>) -> Result<Delivery, Problem>;
}

macro_rules! chosen {
    ($($Source:ident, $member:ident, $word:tt, $what:tt;)+) => {
        /// The source that an app has chosen, if it is set.
        pub(super) fn chosen(source: &AppSource) -> Option<&dyn Deliver> {
            match source.kind {
                $(SourceKind::$Source => source.$member.as_ref().map(|given| given as &dyn Deliver),)+
            }
        }
    };
}

nova_api::each_source!(chosen);

/// Name of the `ComponentDefinition` of Vela's that has to be there before an app of this source can be judged.
#[must_use]
pub fn needed_definition(source: &AppSource) -> Option<&str> {
    chosen(source)?.needs_definition()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn source(source: Value) -> AppSource {
        serde_json::from_value(source).unwrap()
    }

    fn deliver(given: Value, definition_exists: bool) -> Result<Delivery, Problem> {
        let target = Target { me: "NovaApp n/web", app: "web", namespace: "n", definition_exists };
        chosen(&source(given)).unwrap().deliver(&target)
    }

    fn template(name: &str) -> Value {
        json!({"kind": "velaTemplate", "velaTemplate": {"template": name}})
    }

    #[test]
    fn charts_and_repositories_are_not_delivered_yet() {
        let chart = json!({"repoUrl": "https://c.example.com", "registry": "oci://c.example.com", "chart": "c",
            "version": "1", "url": "https://g.example.com/r.git", "revision": "main"});
        for kind in ["helmHttp", "helmOci", "gitRepo"] {
            let problem = deliver(json!({"kind": kind, kind: chart}), true).unwrap_err();
            assert_eq!((problem.reason, problem.class), (Reason::CapabilityMissing, BlockerClass::User));
            let told = format!("source kind {kind} is not delivered by this version of KubeNova");
            assert_eq!(problem.message, told);
        }
    }

    #[test]
    fn only_a_template_needs_a_definition() {
        assert_eq!(needed_definition(&source(template("worker"))), Some("worker"));
        let image = json!({"kind": "containerImage", "containerImage": {"image": "nginx", "tag": "1"}});
        assert_eq!(needed_definition(&source(image)), None);
        // What is set beside the source that was chosen is nothing to go by.
        let other = json!({"kind": "helmOci", "velaTemplate": {"template": "worker"}});
        assert_eq!(needed_definition(&source(other)), None);
    }

    #[test]
    fn a_template_is_refused_if_it_reaches_too_far_or_is_not_there() {
        assert_eq!(deliver(template("worker"), true).unwrap().component, "worker");
        for name in ["ref-objects", "k8s-objects", "raw"] {
            let problem = deliver(template(name), true).unwrap_err();
            assert!(problem.message.contains("is not allowed"), "{problem:?}");
        }
        let problem = deliver(template("worker"), false).unwrap_err();
        assert_eq!(problem.object, "ComponentDefinition vela-system/worker");
        assert_eq!((problem.reason, problem.class), (Reason::DependencyMissing, BlockerClass::User));
        assert_eq!(
            problem.fix,
            "set spec.source.velaTemplate.template of NovaApp n/web to one that exists, such as webservice, worker or \
             cron-task, or have the platform team install it (they see all with kubectl -n vela-system get \
             componentdefinitions)"
        );
    }

    #[test]
    fn an_image_is_run_by_webservice_with_its_amounts() {
        let image = |resources: Value| {
            let image = json!({"image": "nginx", "tag": "1", "resources": resources,
                "ports": [{"port": 80, "expose": true}],
                "env": [{"name": "A", "value": "1"}, {"name": "B", "secretKeyRef": {"name": "s", "key": "k"}}]});
            deliver(json!({"kind": "containerImage", "containerImage": image}), false)
        };
        let delivery =
            image(json!({"requests": {"cpu": "250m"}, "limits": {"cpu": "1", "memory": "1Gi"}})).unwrap();
        assert_eq!((delivery.component.as_str(), delivery.version.as_str()), ("webservice", "1"));
        assert_eq!(
            delivery.properties,
            json!({
                "image": "nginx:1", "cpu": "250m", "memory": "1Gi", "limit": {"cpu": "1", "memory": "1Gi"},
                "ports": [{"port": 80, "protocol": "TCP", "expose": true}],
                "env": [{"name": "A", "value": "1"},
                    {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
            })
        );
        let problem = image(json!({"limits": {"memory": "much"}})).unwrap_err();
        assert!(problem.message.starts_with("spec.source.containerImage.resources memory: "), "{problem:?}");
    }

    #[test]
    fn a_manifest_becomes_objects_whose_pods_carry_the_app() {
        let text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {template: {}}";
        let delivery =
            deliver(json!({"kind": "kubeManifest", "kubeManifest": {"manifest": text}}), false).unwrap();
        assert_eq!(delivery.component, "k8s-objects");
        assert!(
            delivery.version.starts_with("sha256:") && delivery.version.len() == 19,
            "{}",
            delivery.version
        );
        let labels = &delivery.properties["objects"][0]["spec"]["template"]["metadata"]["labels"];
        assert_eq!(labels, &json!({"app.oam.dev/name": "web"}));
        let problem =
            deliver(json!({"kind": "kubeManifest", "kubeManifest": {"manifest": "---"}}), false).unwrap_err();
        assert_eq!(problem.message, "spec.source.kubeManifest.manifest: it holds no object");
        assert_eq!(problem.fix, "correct the manifest");
    }
}
