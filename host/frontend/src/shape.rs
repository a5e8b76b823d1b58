//! What a component would become, looked at before it is compiled: a few hundred bytes may ask for very much.

use wasmparser::{
    BinaryReaderError, ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind,
    ComponentTypeRef, Parser, Payload, Validator, WasmFeatures,
};

use crate::Error;

/// Refuses a component that is malformed or nested without bound, and one that is made of more instances of components than `limit`:
/// a component that instantiates another twice, which does so in turn, doubles with each level.
pub(crate) fn check(name: &str, bytes: &[u8], limit: usize) -> Result<(), Error> {
    let malformed = |error: BinaryReaderError| {
        Error::invalid(format!("frontend {name}: not a component that can be run: {error:#}"))
    };
    match instances(bytes).map_err(malformed)? {
        Some(count) if count > limit as u64 => {
            let text = format!("frontend {name}: is made of more than {limit} instances of components");
            Err(Error::limit(text).with_limit("instances"))
        }
        Some(_) => Ok(()),
        None => Err(Error::new("unsupported", format!("frontend {name}: is given components by components"))),
    }
}

/// A component that is being read.
#[derive(Default)]
struct Frame {
    /// For each component that it knows by an index, the instances that one of it is made of; none where that is not known.
    components: Vec<Option<u64>>,
    /// The instances that one of this is made of, itself not among them; none where that is not known.
    instances: Option<u64>,
}

impl Frame {
    fn new() -> Frame {
        Frame { components: Vec::new(), instances: Some(0) }
    }

    fn instantiates(&mut self, index: u32) {
        let one = self.components.get(index as usize).copied().flatten();
        self.instances = self.instances.zip(one).map(|(sum, one)| sum.saturating_add(one));
    }

    fn made_of(&self) -> Option<u64> {
        self.instances.map(|instances| instances.saturating_add(1))
    }
}

/// How many instances of components a component is made of, itself among them. None where it instantiates what it is handed, which no
/// toolchain makes. All of it is validated but the bodies of functions: they are most of it, have no part in this, and are validated
/// when they are compiled.
fn instances(bytes: &[u8]) -> Result<Option<u64>, BinaryReaderError> {
    // What is around the components that are open, and modules, which have no part in this.
    let mut frames: Vec<Option<Frame>> = vec![Some(Frame::new())];
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    for part in Parser::new(0).parse_all(bytes) {
        let part = part?;
        validator.payload(&part)?;
        match &part {
            Payload::ModuleSection { .. } => frames.push(None),
            Payload::ComponentSection { .. } => frames.push(Some(Frame::new())),
            Payload::End(_) => {
                let Some(Some(ended)) = frames.pop() else { continue };
                let made_of = ended.made_of();
                match frames.last_mut() {
                    Some(Some(outer)) => outer.components.push(made_of),
                    _ => return Ok(made_of),
                }
            }
            _ => read(part, &mut frames)?,
        }
    }
    Ok(None)
}

/// Reads a section of the innermost component.
fn read(section: Payload<'_>, frames: &mut [Option<Frame>]) -> Result<(), BinaryReaderError> {
    if let Payload::ComponentAliasSection(aliases) = section {
        for alias in aliases {
            let known = match alias? {
                ComponentAlias::Outer { kind: ComponentOuterAliasKind::Component, count, index } => {
                    let outer = frames.len().checked_sub(1 + count as usize).and_then(|at| frames.get(at)?.as_ref());
                    outer.and_then(|outer| outer.components.get(index as usize).copied().flatten())
                }
                ComponentAlias::InstanceExport { kind: ComponentExternalKind::Component, .. } => None,
                _ => continue,
            };
            if let Some(Some(frame)) = frames.last_mut() {
                frame.components.push(known);
            }
        }
        return Ok(());
    }
    let Some(Some(frame)) = frames.last_mut() else { return Ok(()) };
    match section {
        Payload::ComponentImportSection(imports) => {
            for import in imports {
                if matches!(import?.ty, ComponentTypeRef::Component(_)) {
                    frame.components.push(None);
                }
            }
        }
        Payload::ComponentExportSection(exports) => {
            for export in exports {
                let export = export?;
                if export.kind == ComponentExternalKind::Component {
                    // What is exported has another index from then on.
                    frame.components.push(frame.components.get(export.index as usize).copied().flatten());
                }
            }
        }
        Payload::ComponentInstanceSection(instances) => {
            for instance in instances {
                if let ComponentInstance::Instantiate { component_index, .. } = instance? {
                    frame.instantiates(component_index);
                }
            }
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use wasm_encoder::{
        Alias, Component, ComponentAliasSection, ComponentInstanceSection, ComponentOuterAliasKind, Module,
        ModuleSection, NestedComponentSection,
    };

    use super::*;

    fn count(component: Component) -> Option<u64> {
        instances(&component.finish()).unwrap()
    }

    /// A component that holds `inner` and makes so many instances of it.
    fn of(inner: &Component, times: u32) -> Component {
        let mut instances = ComponentInstanceSection::new();
        for _ in 0..times {
            instances.instantiate::<_, &str>(0, []);
        }
        let mut outer = Component::new();
        outer.section(&NestedComponentSection(inner)).section(&instances);
        outer
    }

    #[test]
    fn instances_are_counted_with_those_inside() {
        assert_eq!(count(Component::new()), Some(1));
        assert_eq!(count(of(&Component::new(), 3)), Some(4));
        assert_eq!(count(of(&of(&Component::new(), 2), 3)), Some(1 + 3 * 3));
        let mut with_module = Component::new();
        with_module.section(&ModuleSection(&Module::new()));
        assert_eq!(count(of(&with_module, 2)), Some(3));
        let doubled = (0..100).fold(Component::new(), |inner, _| of(&inner, 2));
        assert_eq!(count(doubled), Some(u64::MAX));
    }

    #[test]
    fn what_lies_further_out_counts_too() {
        let mut aliases = ComponentAliasSection::new();
        aliases.alias(Alias::Outer { kind: ComponentOuterAliasKind::Component, count: 1, index: 0 });
        let mut instances = ComponentInstanceSection::new();
        instances.instantiate::<_, &str>(0, []).instantiate::<_, &str>(0, []);
        let mut inner = Component::new();
        inner.section(&aliases).section(&instances);
        let mut last = ComponentInstanceSection::new();
        last.instantiate::<_, &str>(1, []);
        let mut outer = Component::new();
        outer.section(&NestedComponentSection(&of(&Component::new(), 4)));
        outer.section(&NestedComponentSection(&inner)).section(&last);
        assert_eq!(count(outer), Some(1 + 1 + 2 * 5));
    }
}
