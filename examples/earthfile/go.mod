module earthfile

go 1.24

require github.com/pintle/pintle/sdk/go v0.1.0

replace github.com/pintle/pintle/sdk/go => ../../sdk/go
