;; A frontend that never ends, or that grows a table and its memory, or recurses.
(module
  (memory (export "memory") 1)
  (table $table 1 funcref)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
  (func $deeper (param i32) (result i32) (call $deeper (i32.add (local.get 0) (i32.const 1))))
  (func (export "build") (param i32 i32 i32 i32) (result i32)
    (if (i32.eqz (local.get 1)) (then (return (call $deeper (i32.const 0)))))
    (drop (memory.grow (i32.const 10)))
    (drop (table.grow $table (ref.null func) (i32.const 10)))
    (loop $again (br $again))
    (i32.const 16))
  (func (export "request") (param i32 i32 i32 i32 i32 i32) (result i32) (unreachable)))
