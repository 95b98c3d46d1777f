//! The API server refuses Nova objects whose metadata is too large for them to be told about or deleted, however they
//! are written, and lets every change through that makes such an object smaller.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use e2e::{World, eventually, quickstart, root};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Request};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt as _};
use nova_testkit::{CapsuleValues, Identity, Manifests, Options};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

const PATIENCE: Duration = Duration::from_mins(1);
const POLICY: &str = "kubenova-objects";
const NAMESPACE: &str = "tn-acme-app-shop";
/// Entries that a field of the metadata may have.
const MOST: [(&str, usize); 4] =
    [("finalizers", 8), ("labels", 64), ("annotations", 64), ("ownerReferences", 4)];

/// One control plane for all tests of this file. What was stored before the policy is made before it is in force.
async fn world() -> Result<&'static World> {
    static WORLD: OnceCell<World> = OnceCell::const_new();
    WORLD.get_or_try_init(set_up).await
}

/// A client of the runtime that asks.
async fn admin() -> Result<Client> {
    world().await?.plane.admin().await
}

async fn set_up() -> Result<World> {
    let options = Options {
        capsule: CapsuleValues::Off,
        vela: false,
        crds_only: true,
        simulated_nodes: 0,
        ..Options::default()
    };
    let world = World::start(options).await?;
    for name in ["tn-acme", NAMESPACE] {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        world.apply(&namespace.to_string()).await?;
    }
    let apps = apps(&world.admin);
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(world.admin.clone());
    let mut binding = bindings.get(POLICY).await?;
    bindings.delete(POLICY, &DeleteParams::default()).await?;
    in_force(&apps, false).await?;
    for old in [
        app("old-metadata", &old_metadata()),
        app("old-finalizers", &json!({"finalizers": finalizers(12_000)})),
        app("old-lengths", &lengths(1)),
    ] {
        apps.create(&PostParams::default(), &serde_json::from_value(old)?).await?;
    }
    binding.metadata.resource_version = None;
    binding.metadata.uid = None;
    bindings.create(&PostParams::default(), &binding).await?;
    in_force(&apps, true).await?;
    Ok(world)
}

/// Waits until the API server judges by the policy, or no longer does.
async fn in_force(apps: &Api<DynamicObject>, wanted: bool) -> Result<()> {
    let probe = serde_json::from_value(app("probe", &json!({"finalizers": finalizers(9)})))?;
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    eventually(&format!("the policy is in force: {wanted}"), PATIENCE, async || {
        match apps.create(&dry, &probe).await {
            Ok(_) if !wanted => Ok(()),
            Err(kube::Error::Api(status)) if wanted && status.message.contains("KN-422") => Ok(()),
            Ok(_) => Err("it was taken".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
}

fn apps(client: &Client) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), NAMESPACE, &resource("NovaApp", "novaapps"))
}

fn resource(kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("kubenova.io", "v1alpha1", kind), plural)
}

fn finalizers(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("example.com/f{n:05}{}", "x".repeat(40))).collect()
}

/// Of a kind that is not there: Kubernetes would collect what has only owners that are gone.
fn owner(name: &str) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Thing", "name": name, "uid": name})
}

/// So many entries of a field of the metadata.
fn entries(field: &str, count: usize) -> Value {
    let named = |value: &str| (0..count).map(|n| (format!("example.com/k{n}"), json!(value))).collect();
    match field {
        "finalizers" => json!(finalizers(count)),
        "ownerReferences" => (0..count).map(|n| owner(&format!("o{n}"))).collect(),
        _ => Value::Object(named("v")),
    }
}

fn old_metadata() -> Value {
    MOST.iter().map(|(field, most)| ((*field).to_owned(), entries(field, most + 42))).collect()
}

/// Metadata with few entries that are too long, and longer by `more`.
fn lengths(more: usize) -> Value {
    json!({
        "finalizers": [finalizer(128 + more)],
        "annotations": {"a": "x".repeat(65_536 + more)},
        "ownerReferences": [owner(&"x".repeat(253 + more))],
    })
}

fn finalizer(length: usize) -> String {
    let end = format!(".example.com/{}", "x".repeat(63));
    format!("{}{end}", "a".repeat(length - end.len()))
}

fn with_spec(name: &str, metadata: &Value, spec: &Value) -> Value {
    let mut object =
        json!({"apiVersion": "kubenova.io/v1alpha1", "kind": "NovaApp", "metadata": metadata, "spec": spec});
    object["metadata"]["name"] = json!(name);
    object["metadata"]["namespace"] = json!(NAMESPACE);
    object
}

fn app(name: &str, metadata: &Value) -> Value {
    let source = json!({"kind": "containerImage", "containerImage": {"image": "nginx", "tag": "1.29"}});
    with_spec(name, metadata, &json!({"source": source}))
}

fn of_manifest(name: &str, metadata: &Value, manifest: &str) -> Value {
    let source = json!({"kind": "kubeManifest", "kubeManifest": {"manifest": manifest}});
    with_spec(name, metadata, &json!({"source": source}))
}

/// Fails unless the API server refused with these words.
fn refused<T>(what: &str, answer: Result<T, kube::Error>, words: &str) -> Result<()> {
    match answer {
        Err(kube::Error::Api(status)) => {
            ensure!(status.code == 422, "{what}: {} {}", status.code, status.message);
            ensure!(status.message.contains(words), "{what}: {words:?} is not in: {}", status.message);
            println!("| {what} | {} |", status.message.split("request: ").last().unwrap_or_default());
            Ok(())
        }
        Err(error) => bail!("{what}: {error}"),
        Ok(_) => bail!("{what} was taken"),
    }
}

/// What the API server answered, for the eye of whoever reads the output.
fn told<T>(answer: Result<T, kube::Error>) -> String {
    match answer {
        Ok(_) => "taken".to_owned(),
        Err(kube::Error::Api(status)) => status.message,
        Err(error) => error.to_string(),
    }
}

async fn create(apps: &Api<DynamicObject>, object: Value) -> Result<Result<DynamicObject, kube::Error>> {
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    Ok(apps.create(&dry, &serde_json::from_value(object)?).await)
}

/// Writes an object as a whole. `Api::replace` is not for this project's own code, but others use it.
async fn put(client: &Client, whole: &DynamicObject) -> Result<Result<DynamicObject, kube::Error>> {
    let path = Request::new(format!("/apis/kubenova.io/v1alpha1/namespaces/{NAMESPACE}/novaapps"));
    let request = path.replace(&whole.name_any(), &PostParams::default(), serde_json::to_vec(whole)?)?;
    Ok(client.request(request).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_field_of_the_metadata_may_have_so_many_entries_and_no_more() -> Result<()> {
    let apps = apps(&admin().await?);
    for (field, most) in MOST {
        create(&apps, app("new", &json!({field: entries(field, most)}))).await?.context(field)?;
        let answer = create(&apps, app("new", &json!({field: entries(field, most + 1)}))).await?;
        refused(
            field,
            answer,
            &format!("KN-422: metadata.{field} has {} entries, more than {most}", most + 1),
        )?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn finalizers_annotations_and_owners_are_bounded_in_length_too() -> Result<()> {
    let apps = apps(&admin().await?);
    let long = |length: usize| json!({"finalizers": [finalizer(length)]});
    create(&apps, app("new", &long(128))).await?.context("the longest finalizer")?;
    let answer = create(&apps, app("new", &long(129))).await?;
    refused(
        "a long finalizer",
        answer,
        "KN-422: metadata.finalizers has an entry of more than 128 characters",
    )?;

    let annotations =
        |bytes: usize| json!({"annotations": {"a": "x".repeat(30_000), "b": "ä".repeat(bytes / 2)}});
    create(&apps, app("new", &annotations(35_534))).await?.context("the longest annotations")?;
    let answer = create(&apps, app("new", &annotations(35_536))).await?;
    refused("long annotations", answer, "KN-422: metadata.annotations has 65538 bytes, more than 65536")?;

    let owner = |length: usize| json!({"ownerReferences": [owner(&"x".repeat(length))]});
    create(&apps, app("new", &owner(253))).await?.context("the longest owner")?;
    let answer = create(&apps, app("new", &owner(254))).await?;
    refused("a long owner", answer, "KN-422: metadata.ownerReferences names an owner with more than 253")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manifest_that_kubectl_keeps_beside_it_does_not_count() -> Result<()> {
    let apps = apps(&admin().await?);
    let manifest = "# a comment <of> \"words\"\n".repeat(8_000);
    let kept = of_manifest("new", &json!({}), &manifest).to_string();
    ensure!(kept.len() > 200_000, "only {} bytes", kept.len());
    let metadata = json!({"annotations": {"kubectl.kubernetes.io/last-applied-configuration": kept}});
    create(&apps, of_manifest("new", &metadata, &manifest)).await?.context("as kubectl applies it")?;
    Ok(())
}

/// Larger than etcd takes with one field more: it could be stored, and deleted by nobody.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_nobody_could_delete_is_not_stored() -> Result<()> {
    let apps = apps(&admin().await?);
    let answer = create(&apps, app("new", &json!({"finalizers": finalizers(12_000)}))).await?;
    refused("twelve thousand finalizers", answer, "KN-422: metadata.finalizers has 12000 entries")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_is_bounded() -> Result<()> {
    let client = admin().await?;
    let folder = root().join("examples");
    let mut examples = Manifests::from_dir(&folder, "tn-acme")?.objects().to_vec();
    examples.extend_from_slice(Manifests::from_dir(&folder.join("quickstart"), "tn-acme")?.objects());
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    for crd in nova_api::crds::all() {
        let kind = &crd.spec.names.kind;
        let example = examples.iter().find(|object| object.types.as_ref().is_some_and(|t| t.kind == *kind));
        let mut object = match example {
            Some(example) => example.clone(),
            // The one kind that nobody makes by hand.
            None => serde_json::from_value(json!({"apiVersion": "kubenova.io/v1alpha1", "kind": kind,
                "metadata": {"name": "local"}, "spec": {}}))?,
        };
        let resource = resource(kind, &crd.spec.names.plural);
        let api: Api<DynamicObject> = match object.namespace().filter(|_| crd.spec.scope == "Namespaced") {
            Some(namespace) => Api::namespaced_with(client.clone(), &namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        // Another test applies the examples themselves.
        if kind != "NovaCluster" {
            object.metadata.name = Some("bounded".to_owned());
        }
        api.create(&dry, &object).await.with_context(|| format!("an ordinary {kind}"))?;
        object.metadata.finalizers = Some(finalizers(9));
        refused(kind, api.create(&dry, &object).await, "KN-422: metadata.finalizers has 9 entries")?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_holds_however_an_object_is_written() -> Result<()> {
    let client = admin().await?;
    let apps = apps(&client);
    let words = "KN-422: metadata.finalizers has 9 entries";
    let mut generated = app("", &json!({"generateName": "some-", "finalizers": finalizers(9)}));
    generated["metadata"].as_object_mut().context("no metadata")?.remove("name");
    refused("generateName", create(&apps, generated).await?, words)?;

    let beyond = app("ways", &json!({"finalizers": finalizers(9)}));
    let apply = PatchParams::apply("someone").force();
    refused("apply of a new object", apps.patch("ways", &apply, &Patch::Apply(&beyond)).await, words)?;

    apps.create(&PostParams::default(), &serde_json::from_value(app("ways", &json!({})))?).await?;
    let unchanged = PatchParams::default();
    let merge = Patch::Merge(json!({"metadata": {"finalizers": finalizers(9)}}));
    refused("merge patch", apps.patch("ways", &unchanged, &merge).await, words)?;
    let add = json!([{"op": "add", "path": "/metadata/finalizers", "value": finalizers(9)}]);
    let json_patch = Patch::Json::<()>(serde_json::from_value(add)?);
    refused("JSON patch", apps.patch("ways", &unchanged, &json_patch).await, words)?;
    refused("apply", apps.patch("ways", &apply, &Patch::Apply(&beyond)).await, words)?;
    let mut whole = apps.get("ways").await?;
    whole.metadata.finalizers = Some(finalizers(9));
    refused("PUT", put(&client, &whole).await?, words)?;

    // One by one does not get there either.
    for most in 1..=8 {
        let merge = Patch::Merge(json!({"metadata": {"finalizers": finalizers(most)}}));
        apps.patch("ways", &unchanged, &merge).await.with_context(|| format!("{most} finalizers"))?;
    }
    refused("the ninth", apps.patch("ways", &unchanged, &merge).await, words)
}

/// The API server itself keeps metadata out of a write to the status; this notices should it change its mind.
#[tokio::test(flavor = "multi_thread")]
async fn metadata_does_not_get_in_through_the_status() -> Result<()> {
    let apps = apps(&admin().await?);
    apps.create(&PostParams::default(), &serde_json::from_value(app("status", &json!({})))?).await?;
    let metadata = json!({"finalizers": finalizers(9), "labels": entries("labels", 65)});
    let merge = json!({"metadata": metadata, "status": {"phase": "Deployed"}});
    // An answer of 200 and one of 422 are both well, as long as nothing comes of it.
    let answer = apps.patch_status("status", &PatchParams::default(), &Patch::Merge(&merge)).await;
    println!("| metadata by a status | {} |", told(answer));
    let apply = PatchParams::apply("someone").force();
    let whole = app("status", &metadata);
    let answer = apps.patch_status("status", &apply, &Patch::Apply(&whole)).await;
    println!("| the same by apply | {} |", told(answer));
    let live = apps.get("status").await?;
    ensure!(live.finalizers().is_empty() && live.labels().is_empty(), "{:?}", live.metadata);
    Ok(())
}

/// Managers of updates are merged by Kubernetes; those of apply are as many as somebody can think of names.
#[tokio::test(flavor = "multi_thread")]
async fn field_managers_are_bounded() -> Result<()> {
    let client = admin().await?;
    let operator = apps(&world().await?.plane.client(&Identity::operator()).await?);
    let apps = apps(&client);
    apps.create(&PostParams::default(), &serde_json::from_value(app("managers", &json!({})))?).await?;
    let as_manager = async |number: usize, metadata: Value| {
        let mut object = app("managers", &metadata);
        object.as_object_mut().map(|object| object.remove("spec"));
        let params = PatchParams::apply(&format!("manager-{number}"));
        apps.patch("managers", &params, &Patch::Apply(&object)).await
    };
    // The one who made it is the first.
    for number in 1..32 {
        as_manager(number, json!({"labels": {format!("l{number}"): "x"}}))
            .await
            .with_context(|| format!("manager {number}"))?;
    }
    let answer = as_manager(32, json!({"labels": {"l32": "x"}})).await;
    refused("one manager more", answer, "KN-422: metadata.managedFields has 33 entries, more than 32")?;
    as_manager(31, json!({"labels": {"l31": "y"}})).await.context("a manager that is there already")?;
    as_manager(31, json!({})).await.context("a manager that takes its fields away")?;
    as_manager(32, json!({"labels": {"l32": "x"}})).await.context("another in its place")?;

    let finalizer = Patch::Merge(json!({"metadata": {"finalizers": ["kubenova.io/novaapp"]}}));
    let own = PatchParams { field_manager: Some("kubenova/app".to_owned()), ..PatchParams::default() };
    operator.patch("managers", &own, &finalizer).await.context("the operator")?;
    let mut live = apps.get("managers").await?;
    ensure!(live.managed_fields().len() == 33, "{:?}", live.managed_fields());
    let instead =
        live.managed_fields_mut().iter_mut().find(|entry| entry.manager.as_deref() == Some("manager-2"));
    instead.context("no such manager")?.manager = Some("manager-99".to_owned());
    let words = "KN-422: metadata.managedFields has 33 entries";
    refused("a manager in the place of another", put(&client, &live).await?, words)?;
    as_manager(32, json!({"labels": {"l32": "y"}})).await.map(drop).context("one that is there already")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_finds_room_on_an_object_that_is_full() -> Result<()> {
    let world = world().await?;
    let full = app("full", &json!({"finalizers": finalizers(8), "labels": entries("labels", 64)}));
    apps(&world.plane.admin().await?).create(&PostParams::default(), &serde_json::from_value(full)?).await?;
    let operator = apps(&world.plane.client(&Identity::operator()).await?);
    let mut more = finalizers(8);
    more.push("kubenova.io/novaapp".to_owned());
    let merge = Patch::Merge(json!({"metadata": {"finalizers": more}}));
    operator.patch("full", &PatchParams::default(), &merge).await.context("its finalizer")?;
    let status = Patch::Merge(json!({"status": {"phase": "Pending"}}));
    operator.patch_status("full", &PatchParams::default(), &status).await.context("its status")?;

    // What it added is no room for others, or they could make the object grow with each of its passes.
    let owner = apps(&world.plane.admin().await?);
    let merge = Patch::Merge(json!({"metadata": {"finalizers": finalizers(9)}}));
    let answer = owner.patch("full", &PatchParams::default(), &merge).await;
    refused(
        "a finalizer in the place of the operator's",
        answer,
        "KN-422: metadata.finalizers has 9 entries",
    )?;
    let edit = Patch::Merge(json!({"spec": {"displayName": "Full"}}));
    owner.patch("full", &PatchParams::default(), &edit).await.context("an ordinary edit")?;
    Ok(())
}

async fn gone(apps: &Api<DynamicObject>, name: &str) -> Result<()> {
    eventually(&format!("{name} is gone"), PATIENCE, async || match apps.get_opt(name).await {
        Ok(None) => Ok(()),
        Ok(Some(live)) => Err(format!("{} finalizers", live.finalizers().len())),
        Err(error) => Err(error.to_string()),
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_before_may_shrink_and_be_deleted_but_not_grow() -> Result<()> {
    let apps = apps(&admin().await?);
    let (name, params) = ("old-metadata", PatchParams::default());
    let live = apps.get(name).await?;
    ensure!(live.finalizers().len() == 50 && live.labels().len() == 106, "{:?}", live.metadata);
    for (field, most) in MOST {
        let merge = Patch::Merge(json!({"metadata": {field: entries(field, most + 43)}}));
        let words = format!("KN-422: metadata.{field} has {} entries", most + 43);
        refused(&format!("one of {field} more"), apps.patch(name, &params, &merge).await, &words)?;
    }
    let edit = Patch::Merge(
        json!({"metadata": {"labels": {"example.com/k0": "w"}}, "spec": {"displayName": "Old"}}),
    );
    apps.patch(name, &params, &edit).await.context("an edit that adds nothing")?;
    let one_less = json!([{"op": "remove", "path": "/metadata/finalizers/0"}]);
    let one_less = Patch::Json::<()>(serde_json::from_value(one_less)?);
    apps.patch(name, &params, &one_less).await.context("a finalizer less")?;

    apps.delete(name, &DeleteParams::foreground()).await.context("the deletion")?;
    let live = apps.get(name).await.context("it waits for its finalizers")?;
    ensure!(
        live.metadata.deletion_timestamp.is_some() && live.finalizers().len() >= 49,
        "{:?}",
        live.metadata
    );
    apps.patch(name, &params, &one_less).await.context("a finalizer less while it is being deleted")?;
    let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    apps.patch(name, &params, &none).await.context("no finalizer")?;
    gone(&apps, name).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_long_already_may_stay_and_be_deleted_but_not_grow() -> Result<()> {
    let apps = apps(&admin().await?);
    let (name, params) = ("old-lengths", PatchParams::default());
    for (field, words) in [
        ("finalizers", "KN-422: metadata.finalizers has an entry of more than 128 characters"),
        ("annotations", "KN-422: metadata.annotations has 65539 bytes"),
        ("ownerReferences", "KN-422: metadata.ownerReferences names an owner with more than 253 characters"),
    ] {
        let longer = Patch::Merge(json!({"metadata": {field: lengths(2)[field]}}));
        refused(&format!("{field} that grow"), apps.patch(name, &params, &longer).await, words)?;
    }
    let edit = Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}, "spec": {"displayName": "Old"}}));
    apps.patch(name, &params, &edit).await.context("an edit of something else")?;
    apps.delete(name, &DeleteParams::default()).await.context("the deletion")?;
    let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    apps.patch(name, &params, &none).await.context("no finalizer")?;
    gone(&apps, name).await
}

/// Its deletion may end with `etcdserver: request is too large`, because it makes it larger: something has to go first.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_nobody_can_delete_can_be_mended() -> Result<()> {
    let apps = apps(&admin().await?);
    let (name, params) = ("old-finalizers", PatchParams::default());
    println!("| its deletion | {} |", told(apps.delete(name, &DeleteParams::default()).await));
    let one_less = json!([{"op": "remove", "path": "/metadata/finalizers/0"}]);
    apps.patch(name, &params, &Patch::Json::<()>(serde_json::from_value(one_less)?))
        .await
        .context("one less")?;
    let few = Patch::Merge(json!({"metadata": {"finalizers": finalizers(3)}}));
    apps.patch(name, &params, &few).await.context("a few")?;
    apps.delete(name, &DeleteParams::default()).await?;
    let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    apps.patch(name, &params, &none).await.context("none")?;
    gone(&apps, name).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_are_within_all_bounds() -> Result<()> {
    let world = world().await?;
    let mut documents = quickstart("acme")?;
    for entry in std::fs::read_dir(root().join("examples"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            documents.push(std::fs::read_to_string(path)?);
        }
    }
    ensure!(documents.len() >= 7, "only {} examples", documents.len());
    let client = world.plane.admin().await?;
    for document in documents {
        Manifests::from_yaml(&document, "default")?.apply(&client).await?;
    }
    Ok(())
}
