// Earthfiles as a build language: their core.
package main

import (
	"errors"
	"path"
	"strings"

	pintle "github.com/pintle/pintle/sdk/go"
)

const (
	// filename is the file that is read unless option `filename` names another.
	filename = "Earthfile"
	// defaultTarget is the one that is built unless option `target` names another.
	defaultTarget = "all"
)

type language struct{}

// Build lowers a target, with what it saves.
func (language) Build(cx *pintle.Host, request *pintle.Request) (*pintle.Output, error) {
	name := request.OptOr("filename", filename)
	file, err := read(cx, name)
	if err != nil {
		return nil, err
	}
	target := strings.TrimPrefix(request.OptOr("target", defaultTarget), "+")
	results := map[string]pintle.Result{}
	for _, platform := range request.Platforms() {
		lowering := newLowering(cx, file, platform, request.OptsWith("build-arg:"))
		result, err := lowering.result(target)
		if err != nil {
			return nil, err
		}
		results[platform] = result
	}
	if len(results) == 1 {
		for _, result := range results {
			return &pintle.Output{Results: map[string]pintle.Result{"": result}}, nil
		}
	}
	return &pintle.Output{Results: results}, nil
}

// Request answers which targets there are.
func (language) Request(cx *pintle.Host, kind string, request *pintle.Request) (*pintle.Answer, error) {
	if kind != "targets" {
		return nil, nil
	}
	file, err := read(cx, request.OptOr("filename", filename))
	if err != nil {
		return nil, err
	}
	type target struct {
		Name    string `json:"name"`
		Default bool   `json:"default,omitempty"`
	}
	list := struct {
		Targets []target `json:"targets"`
	}{Targets: []target{}}
	text := "TARGET\n"
	for _, name := range file.order {
		list.Targets = append(list.Targets, target{name, name == defaultTarget})
		text += name + "\n"
	}
	return &pintle.Answer{JSON: list, Text: text}, nil
}

func read(cx *pintle.Host, name string) (*earthfile, error) {
	local := cx.Local("dockerfile", pintle.Follow(name), pintle.SharedKey("dockerfile"), pintle.Name("load "+name))
	text, err := cx.Solve(local).ReadText(name)
	var own *pintle.Error
	if errors.As(err, &own) && own.Code == "not-found" {
		return nil, &pintle.Error{Code: "not-found", Message: "no " + name + ": name it with -f"}
	}
	if err != nil {
		return nil, err
	}
	return parse(path.Base(name), text, cx.SourceFile(name, "earthfile", text, local))
}

func init() { pintle.Export(language{}) }

func main() {}
