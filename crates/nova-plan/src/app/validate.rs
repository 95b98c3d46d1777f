//! From a `NovaApp` and its surroundings to an app that can be built. Pure.

use nova_api::conditions::{BlockerClass, Code, ConditionType, Reason};
use nova_api::v1alpha1::{ContainerImage, NovaApp, SourceKind, Trait};
use serde_json::{Map, Value, json};

use super::manifest;
use crate::adapters::vela;
use crate::child::{Owner, short_hash};
use crate::names::AppName;
use crate::problem::Problem;
use crate::project::too_many;
use crate::quantity::Amount;

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
    /// True when a component definition of this name exists; asked for `velaTemplate` only.
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

/// Component types that reach beyond what an app may do, or have a source kind of their own.
const REFUSED_TEMPLATES: [(&str, &str); 3] = [
    ("ref-objects", "it makes the platform fetch URLs and copy objects; use kubeManifest"),
    ("k8s-objects", "use the source kind kubeManifest, which checks the objects"),
    ("raw", "use the source kind kubeManifest, which checks the object"),
];

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
    let (kind, properties, version) = source(app, &me, namespace, refs.definition_exists)?;
    let traits: Vec<vela::Trait> = app.spec.traits.iter().map(vela_trait).collect();
    bounded(&me, std::iter::once(&properties).chain(traits.iter().map(|t| &t.properties)))?;
    let uid = app.metadata.uid.clone().unwrap_or_default();
    Ok(ValidApp {
        name,
        namespace: namespace.to_owned(),
        owner: Owner { uid: uid.clone(), app_id: Some(uid), ..refs.project.clone() },
        source: app.spec.source.kind,
        version,
        component: vela::Component { name: component.to_owned(), r#type: kind, properties, traits },
    })
}

/// Most values in an app, and how deep they may lie in each other. `KubeVela` needs a hundred times the memory of
/// what it renders, and readers of JSON give up at a depth of 128: without a bound one app would be everybody's trouble.
const MAX_VALUES: usize = 5000;
const MAX_DEPTH: usize = 50;

fn bounded<'a>(me: &str, parts: impl Iterator<Item = &'a Value>) -> Result<(), Problem> {
    let (values, depth) =
        parts.map(extent).fold((0, 0), |(values, depth), part| (values + part.0, depth.max(part.1)));
    let refuse = |what: String, fix: &str| {
        Err(Problem::invalid(
            ConditionType::DependenciesMet,
            me,
            format!("spec.source and spec.traits {what}"),
        )
        .fix(fix))
    };
    if depth > MAX_DEPTH {
        return refuse(format!("are nested deeper than {MAX_DEPTH} levels"), "make it flatter");
    }
    if values > MAX_VALUES {
        return refuse(
            format!("hold {values} values, and at most {MAX_VALUES} are taken"),
            "divide it into several apps",
        );
    }
    Ok(())
}

/// How many values there are in a value, itself included, and how deep they lie.
fn extent(value: &Value) -> (usize, usize) {
    let inside = |parts: &mut dyn Iterator<Item = &Value>| {
        parts.map(extent).fold((1, 1), |(values, depth), part| (values + part.0, depth.max(part.1 + 1)))
    };
    match value {
        Value::Array(items) => inside(&mut items.iter()),
        Value::Object(fields) => inside(&mut fields.values()),
        _ => (1, 1),
    }
}

fn vela_trait(given: &Trait) -> vela::Trait {
    let properties =
        if given.properties.is_empty() { Value::Null } else { Value::Object(given.properties.0.clone()) };
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

/// Component type, properties and version of a source.
fn source(
    app: &NovaApp,
    me: &str,
    namespace: &str,
    definition_exists: bool,
) -> Result<(String, Value, String), Problem> {
    let stage = ConditionType::DependenciesMet;
    let source = &app.spec.source;
    let absent = || Problem::invalid(stage, me, format!("spec.source.{} is not set", source.kind));
    match source.kind {
        SourceKind::ContainerImage => {
            let image = source.container_image.as_ref().ok_or_else(absent)?;
            let version = image.tag.clone().or_else(|| image.digest.clone()).ok_or_else(|| {
                Problem::invalid(stage, me, "spec.source.containerImage has neither tag nor digest")
            })?;
            Ok(("webservice".to_owned(), webservice(image, me)?, version))
        }
        SourceKind::VelaTemplate => {
            let template = source.vela_template.as_ref().ok_or_else(absent)?;
            if let Some((_, why)) = REFUSED_TEMPLATES.iter().find(|(name, _)| *name == template.template) {
                let what =
                    format!("spec.source.velaTemplate.template {:?} is not allowed", template.template);
                return Err(Problem::invalid(stage, me, what).fix(why));
            }
            if !definition_exists {
                let object =
                    format!("ComponentDefinition {}/{}", vela::DEFINITIONS_NAMESPACE, template.template);
                return Err(Problem::missing(stage, object, "no such Vela template").class(BlockerClass::User).fix(
                    format!(
                        "set spec.source.velaTemplate.template of {me} to one that exists, such as webservice, worker or cron-task, or have the platform team install it (they see all with kubectl -n {} get componentdefinitions)",
                        vela::DEFINITIONS_NAMESPACE
                    ),
                ));
            }
            let properties = Value::Object(template.parameters.0.clone());
            Ok((template.template.clone(), properties, template.template.clone()))
        }
        SourceKind::KubeManifest => {
            let manifest = source.kube_manifest.as_ref().ok_or_else(absent)?;
            let mut objects = manifest::objects(&manifest.manifest, namespace).map_err(|invalid| {
                Problem::invalid(stage, me, format!("spec.source.kubeManifest.manifest: {invalid}"))
                    .fix("correct the manifest")
            })?;
            manifest::label_pods(&mut objects, app.metadata.name.as_deref().unwrap_or_default());
            let version = format!("sha256:{}", &short_hash(&json!(manifest.manifest))[..12]);
            Ok(("k8s-objects".to_owned(), json!({ "objects": objects }), version))
        }
        SourceKind::HelmHttp | SourceKind::HelmOci | SourceKind::GitRepo => Err(Problem::new(
            stage,
            Reason::CapabilityMissing,
            me,
            format!("source kind {} is not delivered by this version of KubeNova", source.kind),
        )
        .code(Code::Kn422)
        .class(BlockerClass::User)
        .fix(format!("set spec.source of {me} to containerImage, velaTemplate or kubeManifest"))),
    }
}

/// Properties of Vela's `webservice`, every default written out where Vela would add one to the spec.
fn webservice(image: &ContainerImage, me: &str) -> Result<Value, Problem> {
    let reference = match (&image.tag, &image.digest) {
        (_, Some(digest)) => format!("{}@{digest}", image.image),
        (Some(tag), None) => format!("{}:{tag}", image.image),
        (None, None) => image.image.clone(),
    };
    let mut properties = Map::from_iter([("image".to_owned(), json!(reference))]);
    if let Some(secret) = &image.credentials_secret_ref {
        properties.insert("imagePullSecrets".to_owned(), json!([secret.name]));
    }
    if !image.ports.is_empty() {
        let ports: Vec<Value> = image
            .ports
            .iter()
            .map(|p| json!({"port": p.port, "protocol": p.protocol.as_str(), "expose": p.expose}))
            .collect();
        properties.insert("ports".to_owned(), json!(ports));
    }
    if !image.env.is_empty() {
        let env: Vec<Value> = image
            .env
            .iter()
            .map(|e| match &e.secret_key_ref {
                Some(secret) => {
                    json!({"name": e.name, "valueFrom": {"secretKeyRef": {"name": secret.name, "key": secret.key}}})
                }
                None => json!({"name": e.name, "value": e.value.clone().unwrap_or_default()}),
            })
            .collect();
        properties.insert("env".to_owned(), json!(env));
    }
    if let Some(resources) = &image.resources {
        resource_properties(resources, me, &mut properties)?;
    }
    Ok(Value::Object(properties))
}

fn resource_properties(
    resources: &nova_api::v1alpha1::Resources,
    me: &str,
    properties: &mut Map<String, Value>,
) -> Result<(), Problem> {
    let mut limit = Map::new();
    for (key, pick) in [("cpu", 0), ("memory", 1)] {
        let amount = |amounts: Option<&nova_api::v1alpha1::ResourceAmounts>| {
            let quantity = amounts.and_then(|a| if pick == 0 { a.cpu.as_ref() } else { a.memory.as_ref() });
            quantity.map(|q| Amount::parse(&q.0)).transpose().map_err(|invalid| {
                let field = format!("spec.source.containerImage.resources {key}: {invalid}");
                Problem::invalid(ConditionType::DependenciesMet, me, field)
            })
        };
        let (request, most) = (amount(resources.requests.as_ref())?, amount(resources.limits.as_ref())?);
        // Vela takes a lone request for the limit as well, and ignores a lone limit.
        if let Some(request) = request.or(most) {
            properties.insert(key.to_owned(), json!(request.to_string()));
        }
        if let Some(most) = most {
            limit.insert(key.to_owned(), json!(most.to_string()));
        }
    }
    if !limit.is_empty() {
        properties.insert("limit".to_owned(), Value::Object(limit));
    }
    Ok(())
}
