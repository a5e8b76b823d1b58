;; A component whose build is of another type.
(component
  (core module $m
    (memory (export "memory") 1)
    (func (export "build") (param i32) (result i32) (local.get 0)))
  (core instance $i (instantiate $m))
  (func (export "build") (param "x" u32) (result u32) (canon lift (core func $i "build"))))
