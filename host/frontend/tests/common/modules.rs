//! Components that no toolchain would make, of core modules that are written by hand.

use wasm_encoder::{
    CodeSection, ConstExpr, DataSection, EntityType, ExportKind, ExportSection, Function, FunctionSection,
    ImportSection, InstructionSink, MemorySection, MemoryType, Module, NameMap, NameSection, RefType, StartSection,
    TableSection, TableType, TypeSection, ValType,
};

/// Where a guest of ours keeps what it answers, and what it is given.
const ANSWER: i32 = 16;
const GIVEN: i32 = 4096;
/// Texts that the guests hand over: `log` of level `info`, and a path.
const TEXTS: (i32, &[u8]) = (1024, b"info/a");

/// What a function of a guest does before it answers. Local 0 and up are its parameters.
pub type Deed = fn(&mut InstructionSink<'_>);

/// A guest whose functions do these deeds: `build`, what is called to place what the guest is given, what is called after `build`, and
/// what is called before all. Its memory has so many pages at first, so many empty pieces of data are put into it, and each of its functions
/// has this name, unless that is empty.
#[derive(Clone, Copy)]
pub struct Guest {
    pub build: Deed,
    pub realloc: Deed,
    pub after: Deed,
    pub start: Deed,
    pub pages: u64,
    pub pieces: usize,
    pub name: &'static str,
}

impl Guest {
    /// One that does nothing.
    pub const IDLE: Guest =
        Guest { build: |_| {}, realloc: |_| {}, after: |_| {}, start: |_| {}, pages: 4, pieces: 0, name: "" };
}

/// The functions that a guest imports, by their numbers, with the number of their parameters.
const IMPORTS: [(&str, &str, u32, bool); 4] = [
    ("pintle:frontend/host@0.1.0", "log", 4, false),
    ("pintle:frontend/llb@0.1.0", "supports", 2, true),
    ("pintle:frontend/host@0.1.0", "[method]ref.start", 1, false),
    ("pintle:frontend/host@0.1.0", "[resource-drop]ref", 1, false),
];
/// Logs a line.
pub const LOG: u32 = 0;
/// Starts the ref whose handle is on the stack.
pub const START: u32 = 2;
/// Drops it.
pub const DROP: u32 = 3;

/// Calls [`LOG`].
pub fn log(sink: &mut InstructionSink<'_>) {
    let (at, _) = TEXTS;
    sink.i32_const(at).i32_const(4).i32_const(at + 4).i32_const(2).call(LOG);
}

/// The component of a guest.
pub fn component(guest: Guest) -> Vec<u8> {
    frontend::encode(&module(guest)).expect("it is a module of the interface")
}

/// One name for the module and for so many functions.
fn names(name: &str, functions: usize) -> NameSection {
    let mut map = NameMap::new();
    (0..functions as u32).for_each(|function| map.append(function, name));
    let mut names = NameSection::new();
    names.module(name);
    names.functions(&map);
    names
}

/// A guest that answers nothing, from zeroes.
pub fn module(guest: Guest) -> Vec<u8> {
    let mut types = TypeSection::new();
    let params = |count: u32| std::iter::repeat_n(ValType::I32, count as usize);
    // By number of parameters, with and without a result.
    for count in 0..=8 {
        types.ty().function(params(count), []);
        types.ty().function(params(count), [ValType::I32]);
    }
    let ty = |count: u32, answers: bool| count * 2 + u32::from(answers);
    let mut imports = ImportSection::new();
    for (module, name, count, answers) in IMPORTS {
        imports.import(module, name, EntityType::Function(ty(count, answers)));
    }
    let functions = [
        ("build", ty(4, true), guest.build, Some(ANSWER)),
        ("request", ty(6, true), (|_: &mut InstructionSink<'_>| {}) as Deed, Some(ANSWER)),
        ("cabi_realloc", ty(4, true), guest.realloc, Some(GIVEN)),
        ("cabi_post_build", ty(1, false), guest.after, None),
        ("start", ty(0, false), guest.start, None),
    ];
    let (mut declared, mut exports, mut code) = (FunctionSection::new(), ExportSection::new(), CodeSection::new());
    exports.export("memory", ExportKind::Memory, 0);
    for (number, (name, ty, deed, answer)) in functions.into_iter().enumerate() {
        declared.function(ty);
        exports.export(name, ExportKind::Func, IMPORTS.len() as u32 + number as u32);
        let mut function = Function::new([]);
        let mut sink = function.instructions();
        deed(&mut sink);
        if let Some(at) = answer {
            sink.i32_const(at);
        }
        sink.end();
        code.function(&function);
    }
    let mut tables = TableSection::new();
    let table = TableType { element_type: RefType::FUNCREF, minimum: 1, maximum: None, table64: false, shared: false };
    tables.table(table);
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: guest.pages,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut data = DataSection::new();
    data.active(0, &ConstExpr::i32_const(TEXTS.0), TEXTS.1.iter().copied());
    for _ in 0..guest.pieces {
        data.active(0, &ConstExpr::i32_const(0), []);
    }
    let mut module = Module::new();
    module.section(&types).section(&imports).section(&declared).section(&tables).section(&memories);
    let start = StartSection { function_index: IMPORTS.len() as u32 + functions.len() as u32 - 1 };
    module.section(&exports).section(&start).section(&code).section(&data);
    if !guest.name.is_empty() {
        module.section(&names(guest.name, IMPORTS.len() + functions.len()));
    }
    module.finish()
}
