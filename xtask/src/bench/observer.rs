//! What the bench sees: one watch on `NovaApps`, one on Applications, and what is still wanted of them.
//! Does I/O: watches.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures::{TryStreamExt as _, pin_mut};
use kube::Client;
use kube::api::{Request, WatchEvent, WatchParams};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::seen::{Child, Meta, Parent};

/// Between two tries to watch a kind whose definition was just made.
const INITIALIZING: Duration = Duration::from_millis(200);

/// Namespace and name of an app and of its Application.
pub type Key = (String, String);

/// What makes an app done, besides its Application with the wanted image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The status of the `NovaApp` is for its generation.
    Status,
    /// The `NovaApp` is Ready for its generation.
    Ready,
    /// The Application runs.
    Running,
}

/// What is wanted of one app.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Image of the Application's first component.
    pub image: String,
    /// What else.
    pub end: End,
    /// The `NovaApp` has at least this generation.
    pub generation: i64,
    /// The Application was written after this version.
    pub after: u64,
    /// It is not this Application, which is to go.
    pub not: Option<String>,
}

impl Wanted {
    /// An app as it is written first.
    pub fn new(image: &str, end: End) -> Self {
        Self { image: image.to_owned(), end, generation: 1, after: 0, not: None }
    }
}

/// When what was wanted was seen.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// The generation of the `NovaApp`.
    pub edit: Instant,
    /// The Application.
    pub child: Instant,
    /// All of it.
    pub all: Instant,
}

/// An object of a watch.
trait Seen: DeserializeOwned + Clone + Send + 'static {
    const PATH: &'static str;
    fn meta(&self) -> &Meta;
    fn store(state: &mut State) -> &mut HashMap<Key, At<Self>>;
}

impl Seen for Parent {
    const PATH: &'static str = "/apis/kubenova.io/v1alpha1/novaapps";
    fn meta(&self) -> &Meta {
        &self.metadata
    }
    fn store(state: &mut State) -> &mut HashMap<Key, At<Self>> {
        &mut state.parents
    }
}

impl Seen for Child {
    const PATH: &'static str = "/apis/core.oam.dev/v1beta1/applications";
    fn meta(&self) -> &Meta {
        &self.metadata
    }
    fn store(state: &mut State) -> &mut HashMap<Key, At<Self>> {
        &mut state.children
    }
}

/// An object and when it was seen.
#[derive(Debug)]
struct At<T>(T, Instant);

#[derive(Debug)]
struct Goal {
    wanted: Wanted,
    edit: Option<Instant>,
    child: Option<Instant>,
    all: Option<Instant>,
}

#[derive(Debug)]
struct State {
    parents: HashMap<Key, At<Parent>>,
    children: HashMap<Key, At<Child>>,
    goals: HashMap<Key, Goal>,
    open: usize,
    last: Instant,
    failed: Option<String>,
}

impl State {
    /// Looks whether what is wanted of an app is there.
    fn judge(&mut self, key: &Key) {
        let Some(goal) = self.goals.get_mut(key).filter(|goal| goal.all.is_none()) else { return };
        let Wanted { image, end, generation, after, not } = &goal.wanted;
        if let Some(At(parent, at)) = self.parents.get(key)
            && parent.metadata.generation >= *generation
        {
            goal.edit.get_or_insert(*at);
        }
        let Some(At(child, child_at)) = self.children.get(key) else { return };
        let right = child.spec.components.first().is_some_and(|c| c.properties.image == *image)
            && child.metadata.version() > *after
            && not.as_ref() != Some(&child.metadata.uid);
        if !right {
            return;
        }
        goal.child.get_or_insert(*child_at);
        let Some(At(parent, parent_at)) = self.parents.get(key) else { return };
        let present = parent.metadata.generation;
        let status = &parent.status;
        let ready =
            || status.conditions.iter().find(|c| c.kind == "Ready" && c.observed_generation == present);
        let done = present >= *generation
            && match end {
                End::Status => status.observed_generation == present,
                End::Ready => ready().is_some_and(|c| c.status == "True"),
                // The bare client, which has written its own status.
                End::Running => status.observed_generation == present && child.status.status == "running",
            };
        if done {
            goal.all = Some((*child_at).max(*parent_at));
            self.open -= 1;
        }
    }
}

/// The two watches.
pub struct Observer {
    state: Arc<Mutex<State>>,
    changed: watch::Receiver<()>,
    _watches: JoinSet<()>,
}

impl Observer {
    /// Starts both watches. What is there already is seen as new.
    pub fn start(client: &Client) -> Self {
        let state = State {
            parents: HashMap::new(),
            children: HashMap::new(),
            goals: HashMap::new(),
            open: 0,
            last: Instant::now(),
            failed: None,
        };
        let state = Arc::new(Mutex::new(state));
        let (sender, changed) = watch::channel(());
        let sender = Arc::new(sender);
        let mut watches = JoinSet::new();
        watches.spawn(follow::<Parent>(client.clone(), state.clone(), sender.clone()));
        watches.spawn(follow::<Child>(client.clone(), state.clone(), sender));
        Self { state, changed, _watches: watches }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Forgets what was wanted before and wants this instead.
    pub fn want(&self, wanted: impl IntoIterator<Item = (Key, Wanted)>) {
        let mut state = self.state();
        state.goals.clear();
        state.open = 0;
        add(&mut state, wanted);
    }

    /// Wants this, too.
    pub fn want_also(&self, key: Key, wanted: Wanted) {
        add(&mut self.state(), [(key, wanted)]);
    }

    /// Generation of a `NovaApp`, 0 if it was not seen.
    pub fn generation(&self, key: &Key) -> i64 {
        self.state().parents.get(key).map_or(0, |At(parent, _)| parent.metadata.generation)
    }

    /// Metadata of all `NovaApps`.
    pub fn parent_metas(&self) -> HashMap<Key, Meta> {
        let state = self.state();
        state.parents.iter().map(|(key, At(parent, _))| (key.clone(), parent.metadata.clone())).collect()
    }

    /// Image of an Application.
    pub fn child_image(&self, key: &Key) -> Option<String> {
        let state = self.state();
        let At(child, _) = state.children.get(key)?;
        child.spec.components.first().map(|component| component.properties.image.clone())
    }

    /// UID of an Application.
    pub fn child_uid(&self, key: &Key) -> Option<String> {
        self.state().children.get(key).map(|At(child, _)| child.metadata.uid.clone())
    }

    /// Waits until everything that is wanted was seen; returns when the last of it was.
    pub async fn all(&self, within: Duration) -> Result<Instant> {
        self.until("all apps are as wanted", within, |state| state.open == 0).await?;
        let state = self.state();
        Ok(state.goals.values().filter_map(|goal| goal.all).max().unwrap_or_else(Instant::now))
    }

    /// Waits until what is wanted of one app was seen.
    pub async fn one(&self, key: &Key, within: Duration) -> Result<Done> {
        let done = |state: &State| state.goals.get(key).is_some_and(|goal| goal.all.is_some());
        self.until(&format!("{}/{} is as wanted", key.0, key.1), within, done).await?;
        let state = self.state();
        let goal = state.goals.get(key).context("nothing is wanted of it any more")?;
        let Goal { edit, child, all, .. } = goal;
        Ok(Done {
            edit: edit.context("not seen")?,
            child: child.context("no child")?,
            all: all.context("not done")?,
        })
    }

    /// Waits until so many apps are there.
    pub async fn parents(&self, count: usize, within: Duration) -> Result<()> {
        self.until("every app is there", within, |state| state.parents.len() == count).await
    }

    /// Waits until there is no app and no Application any more.
    pub async fn empty(&self, within: Duration) -> Result<()> {
        self.until("everything is gone", within, |s| s.parents.is_empty() && s.children.is_empty()).await
    }

    /// Waits until nothing was seen for `pause`; false if that does not come.
    pub async fn quiet(&self, pause: Duration, within: Duration) -> Result<bool> {
        let start = Instant::now();
        loop {
            let since = self.alive()?.last.elapsed();
            if since >= pause {
                return Ok(true);
            }
            if start.elapsed() > within {
                return Ok(false);
            }
            tokio::time::sleep(pause.saturating_sub(since).max(Duration::from_millis(10))).await;
        }
    }

    fn alive(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.state();
        if let Some(error) = &state.failed {
            bail!("a watch of the bench failed: {error}");
        }
        Ok(state)
    }

    async fn until(&self, what: &str, within: Duration, done: impl Fn(&State) -> bool) -> Result<()> {
        let mut changed = self.changed.clone();
        let seen = async {
            loop {
                changed.mark_unchanged();
                if done(&*self.alive()?) {
                    return Ok(());
                }
                changed.changed().await.context("the watches have ended")?;
            }
        };
        if let Ok(outcome) = tokio::time::timeout(within, seen).await {
            return outcome;
        }
        let open = self.state().open;
        bail!("not within {within:?}: {what}; {open} apps are not as wanted")
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Objects are replaced one by one, so a panic elsewhere leaves nothing half done.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn add(state: &mut State, wanted: impl IntoIterator<Item = (Key, Wanted)>) {
    for (key, wanted) in wanted {
        let before = state.goals.insert(key.clone(), Goal { wanted, edit: None, child: None, all: None });
        if before.is_none_or(|goal| goal.all.is_some()) {
            state.open += 1;
        }
        state.judge(&key);
    }
}

/// Follows a kind for as long as the bench runs. A watch that ends is taken up where it ended.
async fn follow<T: Seen>(client: Client, state: Arc<Mutex<State>>, changed: Arc<watch::Sender<()>>) {
    let mut version = "0".to_owned();
    loop {
        if let Err(error) = once::<T>(&client, &state, &changed, &mut version).await {
            if is_initializing(&error) {
                tokio::time::sleep(INITIALIZING).await;
                continue;
            }
            lock(&state).failed = Some(format!("{}: {error:#}", T::PATH));
            changed.send_replace(());
            return;
        }
    }
}

/// Whether the API server has just taken up the kind's definition and asks for a moment.
fn is_initializing(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(kube::Error::Api(status)) if status.code == 429)
}

async fn once<T: Seen>(
    client: &Client,
    state: &Mutex<State>,
    changed: &watch::Sender<()>,
    version: &mut String,
) -> Result<()> {
    let request = Request::new(T::PATH).watch(&WatchParams::default(), version)?;
    let events = client.request_events::<T>(request).await?;
    pin_mut!(events);
    while let Some(event) = events.try_next().await? {
        let (object, there) = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, true),
            WatchEvent::Deleted(object) => (object, false),
            WatchEvent::Bookmark(mark) => {
                *version = mark.metadata.resource_version;
                continue;
            }
            WatchEvent::Error(status) => bail!("{status:?}"),
        };
        let now = Instant::now();
        version.clone_from(&object.meta().resource_version);
        let key = (object.meta().namespace.clone(), object.meta().name.clone());
        let mut state = lock(state);
        state.last = now;
        if there {
            T::store(&mut state).insert(key.clone(), At(object, now));
            state.judge(&key);
        } else {
            T::store(&mut state).remove(&key);
        }
        drop(state);
        changed.send_replace(());
    }
    Ok(())
}
