// Package export_wit_world hands the component's exports to the SDK, which no package below it can import.
package export_wit_world

import (
	"github.com/pintle/pintle/sdk/go/internal/wit/imports/pintle_frontend_types"
	"github.com/pintle/pintle/sdk/go/internal/wit/imports/wit_world"
	witTypes "github.com/pintle/pintle/sdk/go/internal/wit/types"
)

// Options and inputs as they cross the interface.
type (
	Opts   = []witTypes.Tuple2[string, string]
	Inputs = []witTypes.Tuple2[string, witTypes.Option[pintle_frontend_types.Edge]]
	Answer = []witTypes.Tuple2[string, pintle_frontend_types.Content]
)

// What the SDK does for each export.
var (
	OnBuild   func(Opts, Inputs) witTypes.Result[wit_world.Output, pintle_frontend_types.Error]
	OnRequest func(string, Opts, Inputs) witTypes.Result[Answer, pintle_frontend_types.Error]
)

// Build is the export `build`.
func Build(opts Opts, inputs Inputs) witTypes.Result[wit_world.Output, pintle_frontend_types.Error] {
	return OnBuild(opts, inputs)
}

// Request is the export `request`.
func Request(kind string, opts Opts, inputs Inputs) witTypes.Result[Answer, pintle_frontend_types.Error] {
	return OnRequest(kind, opts, inputs)
}
