//! From a `NovaApp` and its surroundings to an app that can be built. Pure.

use nova_api::conditions::{BlockerClass, Code, ConditionType, Reason};
use nova_api::v1alpha1::{NovaApp, SourceKind, Trait};
use serde_json::Value;

use super::bounds::{Extent, check_forms};
use super::source::{self, Delivery, Target};
use crate::adapters::vela;
use crate::child::Owner;
use crate::names::AppName;
use crate::problem::Problem;
use crate::project::too_many;

/// What surrounds an app.
#[derive(Debug, Clone, Copy)]
pub struct References<'a> {
    /// Owner labels of the project whose namespace it is in.
    pub project: &'a Owner,
    /// Most apps of a project.
    pub max_apps: Option<i32>,
    /// How many older apps the project has.
    pub older: usize,
    /// An older app of the namespace with the same component name.
    pub component_holder: Option<&'a str>,
    /// True when the definition that [`needed_definition`](super::needed_definition) names exists.
    pub definition_exists: bool,
}

/// An app that can be built.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidApp {
    /// Checked name.
    pub name: AppName,
    /// Its namespace.
    pub namespace: String,
    /// Owner of its child.
    pub owner: Owner,
    /// Kind of source.
    pub source: SourceKind,
    /// What people call the version.
    pub version: String,
    /// The component as Vela takes it.
    pub component: vela::Component,
}

/// Checks an app.
pub fn validate(app: &NovaApp, refs: &References<'_>) -> Result<ValidApp, Problem> {
    let stage = ConditionType::DependenciesMet;
    let given = app.metadata.name.as_deref().unwrap_or_default();
    let namespace = app.metadata.namespace.as_deref().unwrap_or_default();
    let me = format!("NovaApp {namespace}/{given}");
    let name = AppName::parse(given).map_err(|invalid| Problem::invalid(stage, &me, invalid))?;
    echo(&me, "tenant", app.spec.tenant.as_deref(), refs.project.tenant.as_deref())?;
    echo(&me, "project", app.spec.project.as_deref(), refs.project.project.as_deref())?;
    too_many(&me, "apps in a project", refs.max_apps, refs.older)?;
    let component = app.spec.component(given);
    if let Some(holder) = refs.component_holder {
        return Err(Problem::new(
            stage,
            Reason::Conflict,
            format!("NovaApp {namespace}/{holder}"),
            format!("it already has the component {component:?}, and Vela selects pods by it"),
        )
        .code(Code::Kn409)
        .class(BlockerClass::User)
        .fix(format!("delete {me} and create it with another spec.component"))
        .terminal());
    }
    let absent = || Problem::invalid(stage, &me, format!("spec.source.{} is not set", app.spec.source.kind));
    let source = source::chosen(&app.spec.source).ok_or_else(absent)?;
    // Before anything is made of what the author wrote, and once more when it is known what becomes of it.
    let traits = written(app);
    let form = source.free_form();
    check_forms(&me, form.into_iter().chain(app.spec.traits.iter().map(|given| &given.properties)))?;
    form.map(Extent::of_form).unwrap_or_default().and(traits).check(&me)?;
    let definition_exists = refs.definition_exists;
    let Delivery { component: r#type, properties, version } =
        source.deliver(&Target { me: &me, app: given, namespace, definition_exists })?;
    Extent::of_value(&properties).and(traits).check(&me)?;
    let traits = app.spec.traits.iter().map(vela_trait).collect();
    let uid = app.metadata.uid.clone().unwrap_or_default();
    Ok(ValidApp {
        name,
        namespace: namespace.to_owned(),
        owner: Owner { uid: uid.clone(), app_id: Some(uid), ..refs.project.clone() },
        source: app.spec.source.kind,
        version,
        component: vela::Component { name: component.to_owned(), r#type, properties, traits },
    })
}

/// Extent of the traits as they are written.
fn written(app: &NovaApp) -> Extent {
    let forms = app.spec.traits.iter().map(|given| Extent::of_form(&given.properties));
    forms.fold(Extent::default(), Extent::and)
}

fn vela_trait(given: &Trait) -> vela::Trait {
    let properties = if given.properties.is_empty() { Value::Null } else { given.properties.to_value() };
    vela::Trait { r#type: given.type_.clone(), properties }
}

/// Tenant and project come from the namespace; a spec may repeat them for readers, not change them.
fn echo(me: &str, field: &str, said: Option<&str>, is: Option<&str>) -> Result<(), Problem> {
    match said {
        Some(said) if Some(said) != is => Err(Problem::new(
            ConditionType::DependenciesMet,
            Reason::Forbidden,
            me,
            format!("spec.{field} says {said:?}, but the namespace belongs to {:?}", is.unwrap_or("nobody")),
        )
        .code(Code::Kn403)
        .class(BlockerClass::User)
        .fix(format!("remove spec.{field}, or create the app in a namespace of that {field}"))
        .terminal()),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "`json!` is easier to read without references")]
mod tests {
    use super::*;
    use serde_json::{Map, json};

    fn app(source: Value, traits: Value) -> NovaApp {
        serde_json::from_value(json!({
            "apiVersion": "kubenova.io/v1alpha1", "kind": "NovaApp",
            "metadata": {"name": "web", "namespace": "tn-a-app-b", "uid": "u"},
            "spec": {"source": source, "traits": traits},
        }))
        .unwrap()
    }

    fn validated(source: Value, traits: Value) -> Result<ValidApp, Problem> {
        let project = Owner { tenant: Some("a".into()), project: Some("b".into()), ..Owner::default() };
        let component_holder = None;
        let refs = References {
            project: &project,
            max_apps: None,
            older: 0,
            component_holder,
            definition_exists: true,
        };
        validate(&app(source, traits), &refs)
    }

    fn template(parameters: Value) -> Value {
        json!({"kind": "velaTemplate", "velaTemplate": {"template": "worker", "parameters": parameters}})
    }

    #[test]
    fn what_the_author_told_vela_is_handed_on_as_it_is() {
        let parameters = json!({"image": "nginx:1", "b": [1.5, null], "a": {"c": true}});
        let traits = json!([{"type": "scaler", "properties": {"replicas": 2}}, {"type": "pause"}]);
        let valid = validated(template(parameters.clone()), traits).unwrap();
        assert_eq!(valid.component.properties, parameters);
        assert_eq!((valid.component.r#type.as_str(), valid.version.as_str()), ("worker", "worker"));
        let traits: Vec<&Value> = valid.component.traits.iter().map(|t| &t.properties).collect();
        assert_eq!(traits, [&json!({"replicas": 2}), &Value::Null]);
    }

    #[test]
    fn values_of_source_and_traits_are_counted_together() {
        let half = |n: usize| {
            let fields: Map<String, Value> = (0..n).map(|i| (format!("k{i}"), json!(i))).collect();
            json!({ "a": fields })
        };
        assert!(validated(template(half(2498)), json!([{"type": "x", "properties": half(2498)}])).is_ok());
        let refused =
            validated(template(half(2498)), json!([{"type": "x", "properties": half(2499)}])).unwrap_err();
        assert!(refused.message.contains("hold 5001 values, and at most 5000 are taken"), "{refused:?}");
    }

    #[test]
    fn deep_values_are_refused_wherever_they_stand() {
        let deep = |n: usize| (1..n).fold(json!({}), |inner, _| json!({"a": inner}));
        assert!(validated(template(deep(50)), json!([{"type": "x", "properties": deep(50)}])).is_ok());
        for (source, properties) in [(51, 1), (1, 51)] {
            let traits = json!([{"type": "x", "properties": deep(properties)}]);
            let refused = validated(template(deep(source)), traits).unwrap_err();
            assert!(refused.message.contains("nested deeper than 50 levels"), "{refused:?}");
        }
        let nested = format!("{}0{}", "[".repeat(48), "]".repeat(48));
        let manifest = format!("apiVersion: v1\nkind: X\nmetadata: {{name: a}}\nspec: {nested}");
        let manifest = json!({"kind": "kubeManifest", "kubeManifest": {"manifest": manifest}});
        let refused = validated(manifest, json!([])).unwrap_err();
        assert!(refused.message.contains("nested deeper than 50 levels"), "{refused:?}");
    }

    #[test]
    fn long_lists_are_refused_by_number_those_of_all_forms_together() {
        let volumes = |n: usize| json!({"image": "a", "volumes": vec![json!({"name": "v"}); n]});
        assert!(validated(template(volumes(128)), json!([])).is_ok());
        let refused = validated(template(volumes(800)), json!([])).unwrap_err();
        assert!(
            refused.message.contains("hold 800 items together, and at most 128 are taken"),
            "{refused:?}"
        );
        assert!(refused.is_terminal() && !refused.fix.is_empty(), "{refused:?}");
        let traits = json!([{"type": "x"}, {"type": "y", "properties": volumes(29)}]);
        let refused = validated(template(volumes(100)), traits).unwrap_err();
        assert!(refused.message.contains("hold 129 items together"), "{refused:?}");
    }

    #[test]
    fn a_manifest_with_too_many_values_is_refused_before_its_objects_are_made() {
        let manifest =
            format!("apiVersion: v1\nkind: X\nmetadata: {{name: a}}\nspec: [{}]", "0, ".repeat(5000));
        let refused =
            validated(json!({"kind": "kubeManifest", "kubeManifest": {"manifest": manifest}}), json!([]));
        let refused = refused.unwrap_err();
        assert!(refused.message.contains("hold 5006 values, and at most 5000 are taken"), "{refused:?}");
    }

    #[test]
    fn a_source_that_is_not_set_is_told() {
        for kind in SourceKind::ALL {
            let refused = validated(json!({"kind": kind}), json!([])).unwrap_err();
            assert_eq!(refused.message, format!("spec.source.{kind} is not set"));
        }
    }
}
