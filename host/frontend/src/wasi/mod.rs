//! WASI 0.2 as components may import it: a world with nothing in it, the same each time.
//!
//! Toolchains of interpreted languages put these imports into every component, whether it calls them or not. There is no file, no
//! environment, no argument and no network; reading a clock moves it on by a fixed step and sleeping by what was slept; random
//! numbers come from a fixed seed; what is written to stdout and stderr is logged. So a component that imports WASI remains a
//! function of its input. The functions here are found by the names that a component imports; the rest of an interface answers with
//! an empty list, with none, or with an error, by its type, and ends the guest where none of these fits.

mod world;

use wasmtime::{
    Engine, Result, StoreContextMut,
    component::{
        Component, ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType, Type, Val,
        types::{ComponentFunc, ComponentItem},
    },
};

use world::WALL_CLOCK;
pub(crate) use world::{Stream, World};

use crate::{
    limits::{Breach, shown_bytes},
    v0_1::Guest,
};

/// The package's namespace, and the version that is answered.
const NAMESPACE: &str = "wasi:";
const VERSION: &str = "0.2.";
/// Packages whose interfaces may be imported.
const PACKAGES: [&str; 6] = ["cli", "clocks", "filesystem", "io", "random", "sockets"];
/// Bytes that a stream takes in one call.
const WRITE_BYTES: u64 = 64 << 10;

/// The guest ended its process, which a frontend has none of.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("ended before it answered")]
pub(crate) struct Exited;

/// What of an import's name is WASI's that is answered here: package and interface, as in `cli/stdout`.
pub(crate) fn interface(import: &str) -> Option<&str> {
    let (path, version) = import.strip_prefix(NAMESPACE)?.split_once('@')?;
    let (package, _) = path.split_once('/')?;
    (version.starts_with(VERSION) && PACKAGES.contains(&package)).then_some(path)
}

/// What is granted, in an error's words.
pub(crate) fn granted() -> String {
    format!("WASI 0.2's {}", PACKAGES.join(", "))
}

/// Makes the interfaces of WASI that a component imports known to a linker.
pub(crate) fn add_to_linker(linker: &mut Linker<Guest>, engine: &Engine, component: &Component) -> Result<()> {
    for (import, item) in component.component_type().imports(engine) {
        let (Some(interface), ComponentItem::ComponentInstance(instance)) = (interface(import), item.ty) else {
            continue;
        };
        let mut linker = linker.instance(import)?;
        for (name, item) in instance.exports(engine) {
            match item.ty {
                ComponentItem::Resource(_) => resource(&mut linker, name)?,
                ComponentItem::ComponentFunc(_) if define(&mut linker, interface, name)? => {}
                ComponentItem::ComponentFunc(function) => define_empty(&mut linker, import, name, &function)?,
                _ => {}
            }
        }
    }
    Ok(())
}

/// A time that comes; its number is the world's.
struct Pollable;
/// Standard input, which is empty.
struct Input;
/// Standard output or error, by [`Stream`]'s number.
struct Output;
/// An error of a stream.
struct StreamFault;
/// Anything else: a file, a socket, a terminal. There is none.
struct Absent;

fn resource(linker: &mut LinkerInstance<'_, Guest>, name: &str) -> Result<()> {
    let ty = match name {
        "pollable" => {
            return linker.resource(name, ResourceType::host::<Pollable>(), |mut store, number| {
                store.data_mut().world.forget(number);
                Ok(())
            });
        }
        "input-stream" => ResourceType::host::<Input>(),
        "output-stream" => ResourceType::host::<Output>(),
        "error" => ResourceType::host::<StreamFault>(),
        _ => ResourceType::host::<Absent>(),
    };
    linker.resource(name, ty, |_, _| Ok(()))
}

#[derive(ComponentType, Lower, Lift)]
#[component(variant)]
enum StreamError {
    #[component(name = "last-operation-failed")]
    #[allow(dead_code, reason = "part of the type, and never answered")]
    LastOperationFailed(Resource<StreamFault>),
    #[component(name = "closed")]
    Closed,
}

#[derive(ComponentType, Lower, Lift)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

type Store<'a> = StoreContextMut<'a, Guest>;
/// What a function of a stream answers.
type Streamed<T> = Result<(std::result::Result<T, StreamError>,)>;

/// The guest, which made one more call.
fn called<'a>(store: &'a mut Store<'_>) -> &'a mut Guest {
    let guest = store.data_mut();
    guest.calls += 1;
    guest
}

fn world<'a>(store: &'a mut Store<'_>) -> &'a mut World {
    &mut called(store).world
}

/// Defines a function that answers something. False where there is none of this name here.
fn define(linker: &mut LinkerInstance<'_, Guest>, interface: &str, name: &str) -> Result<bool> {
    match interface {
        "cli/exit" => linker.func_new(name, |_, _, _, _| Err(Exited.into()))?,
        "cli/stdin" => linker.func_wrap(name, |_, ()| Ok((Resource::<Input>::new_own(0),)))?,
        "cli/stdout" => linker.func_wrap(name, |_, ()| Ok((Resource::<Output>::new_own(Stream::Stdout as u32),)))?,
        "cli/stderr" => linker.func_wrap(name, |_, ()| Ok((Resource::<Output>::new_own(Stream::Stderr as u32),)))?,
        "sockets/instance-network" => linker.func_wrap(name, |_, ()| Ok((Resource::<Absent>::new_own(0),)))?,
        "clocks/monotonic-clock" | "clocks/wall-clock" => return clock(linker, interface, name),
        "io/poll" => return poll(linker, name),
        "io/streams" => return stream(linker, name),
        "random/random" | "random/insecure" | "random/insecure-seed" => return random(linker, name),
        _ => return Ok(false),
    }
    Ok(true)
}

fn clock(linker: &mut LinkerInstance<'_, Guest>, interface: &str, name: &str) -> Result<bool> {
    let subscribed = |number| Ok((Resource::<Pollable>::new_own(number),));
    match (interface, name) {
        ("clocks/monotonic-clock", "now") => {
            linker.func_wrap(name, |mut store: Store<'_>, ()| Ok((world(&mut store).now(),)))?;
        }
        ("clocks/monotonic-clock", "resolution") => linker.func_wrap(name, |_, ()| Ok((world::TICK,)))?,
        ("clocks/monotonic-clock", "subscribe-instant") => {
            linker.func_wrap(name, move |mut store: Store<'_>, (when,): (u64,)| {
                subscribed(world(&mut store).subscribe(when))
            })?;
        }
        ("clocks/monotonic-clock", "subscribe-duration") => {
            linker.func_wrap(name, move |mut store: Store<'_>, (duration,): (u64,)| {
                let world = world(&mut store);
                let when = world.now().saturating_add(duration);
                subscribed(world.subscribe(when))
            })?;
        }
        ("clocks/wall-clock", "now") => {
            linker.func_wrap(name, |_, ()| Ok((Datetime { seconds: WALL_CLOCK, nanoseconds: 0 },)))?;
        }
        ("clocks/wall-clock", "resolution") => {
            linker.func_wrap(name, |_, ()| Ok((Datetime { seconds: 1, nanoseconds: 0 },)))?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn poll(linker: &mut LinkerInstance<'_, Guest>, name: &str) -> Result<bool> {
    match name {
        "poll" => linker.func_wrap(name, |mut store: Store<'_>, (list,): (Vec<Resource<Pollable>>,)| {
            if list.is_empty() {
                return Err(wasmtime::format_err!("polls nothing at all"));
            }
            let numbers: Vec<u32> = list.iter().map(Resource::rep).collect();
            Ok((world(&mut store).wait(&numbers),))
        })?,
        "[method]pollable.ready" => {
            linker.func_wrap(name, |mut store: Store<'_>, (this,): (Resource<Pollable>,)| {
                Ok((world(&mut store).is_ready(this.rep()),))
            })?;
        }
        "[method]pollable.block" => {
            linker.func_wrap(name, |mut store: Store<'_>, (this,): (Resource<Pollable>,)| {
                world(&mut store).wait(&[this.rep()]);
                Ok(())
            })?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn stream(linker: &mut LinkerInstance<'_, Guest>, name: &str) -> Result<bool> {
    let now = |mut store: Store<'_>| {
        let world = world(&mut store);
        let when = world.now();
        Ok((Resource::<Pollable>::new_own(world.subscribe(when)),))
    };
    match name {
        "[method]input-stream.read" | "[method]input-stream.blocking-read" => {
            linker.func_wrap(name, |_, _: (Resource<Input>, u64)| -> Streamed<Vec<u8>> {
                Ok((Err(StreamError::Closed),))
            })?;
        }
        "[method]input-stream.subscribe" => linker.func_wrap(name, move |store, _: (Resource<Input>,)| now(store))?,
        "[method]output-stream.subscribe" => linker.func_wrap(name, move |store, _: (Resource<Output>,)| now(store))?,
        "[method]output-stream.check-write" => {
            linker.func_wrap(name, |_, _: (Resource<Output>,)| -> Streamed<u64> { Ok((Ok(WRITE_BYTES),)) })?;
        }
        "[method]output-stream.write" | "[method]output-stream.blocking-write-and-flush" => {
            linker.func_wrap(
                name,
                |mut store: Store<'_>, (this, bytes): (Resource<Output>, Vec<u8>)| -> Streamed<()> {
                    called(&mut store).written(Stream::of(this.rep()), &bytes);
                    Ok((Ok(()),))
                },
            )?;
        }
        "[method]output-stream.flush" | "[method]output-stream.blocking-flush" => {
            linker.func_wrap(name, |_, _: (Resource<Output>,)| -> Streamed<()> { Ok((Ok(()),)) })?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn random(linker: &mut LinkerInstance<'_, Guest>, name: &str) -> Result<bool> {
    match name {
        "get-random-bytes" | "get-insecure-random-bytes" => {
            linker.func_wrap(name, |mut store: Store<'_>, (length,): (u64,)| {
                let guest = called(&mut store);
                let limit = guest.limits().value_bytes;
                let length = usize::try_from(length).ok().filter(|length| *length <= limit);
                let too_many =
                    || Breach::of("value", format!("wants more than {} of random bytes", shown_bytes(limit)));
                Ok((guest.world.random_bytes(length.ok_or_else(too_many)?),))
            })?;
        }
        "get-random-u64" | "get-insecure-random-u64" => {
            linker.func_wrap(name, |mut store: Store<'_>, ()| Ok((world(&mut store).random(),)))?;
        }
        "insecure-seed" => linker.func_wrap(name, |mut store: Store<'_>, ()| {
            let world = world(&mut store);
            Ok(((world.random(), world.random()),))
        })?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// Defines a function by the type of its result: nothing is there, and nothing may be made.
fn define_empty(
    linker: &mut LinkerInstance<'_, Guest>,
    import: &str,
    name: &str,
    function: &ComponentFunc,
) -> Result<()> {
    let empty = function.results().next().as_ref().and_then(empty_value);
    let text = format!("calls {name} of {import}, which does nothing here");
    linker.func_new(name, move |mut store, _, _, results| {
        called(&mut store);
        match (&empty, results) {
            (Some(empty), [result]) => *result = empty.clone(),
            _ => return Err(wasmtime::Error::msg(text.clone())),
        }
        Ok(())
    })
}

/// Names that WASI's enums of errors have for what may not be done.
const REFUSED: [&str; 2] = ["access-denied", "access"];

fn empty_value(ty: &Type) -> Option<Val> {
    match ty {
        Type::List(_) => Some(Val::List(Vec::new())),
        Type::Option(_) => Some(Val::Option(None)),
        Type::Result(result) => {
            let Some(Type::Enum(errors)) = result.err() else { return None };
            let word = REFUSED.into_iter().find(|word| errors.names().any(|name| name == *word))?;
            Some(Val::Result(Err(Some(Box::new(Val::Enum(word.to_owned()))))))
        }
        _ => None,
    }
}
