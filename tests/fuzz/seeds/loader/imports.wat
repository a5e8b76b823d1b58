;; A component that imports what is not granted, and exports nothing.
(component
  (import "wasi:http/outgoing-handler@0.2.0" (instance (export "handle" (func))))
  (import "pintle:frontend/host@0.2.0" (instance (export "log" (func)))))
