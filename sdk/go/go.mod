module github.com/pintle/pintle/sdk/go

go 1.24
