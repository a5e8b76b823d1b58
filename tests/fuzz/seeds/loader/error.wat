;; A frontend that answers an error with a code and a message, and asks whether a word is known.
(module
  (import "pintle:frontend/llb@0.1.0" "supports" (func $supports (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "\01\00\00\00\40\00\00\00\06\00\00\00\48\00\00\00\04\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00")
  (data (i32.const 64) "denied\00\00no\00\00")
  (global $heap (mut i32) (i32.const 1024))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (global.get $heap)
    (global.set $heap (i32.add (global.get $heap) (i32.and (i32.add (local.get 3) (i32.const 15)) (i32.const -16)))))
  (func (export "build") (param i32 i32 i32 i32) (result i32)
    (drop (call $supports (i32.const 64) (i32.const 6)))
    (i32.const 16))
  (func (export "request") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 16)))
