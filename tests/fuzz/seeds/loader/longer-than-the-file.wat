;; A section of types that says it has 2 GB.
(component binary "\00asm\0d\00\01\00" "\07\ff\ff\ff\ff\07")
