// The build language {{name}}: a file of steps, a line each.
//
//	from docker.io/library/alpine:3
//	copy app /opt/app
//	run /opt/app/configure
//	write /etc/motd hello
package main

import (
	"strings"

	pintle "github.com/pintle/pintle/sdk/go"
)

// filename is the file that is read unless option `filename` names another.
const filename = "Buildfile"

type language struct{}

// Build makes a graph of a file.
func (language) Build(cx *pintle.Host, request *pintle.Request) (*pintle.Output, error) {
	name := request.OptOr("filename", filename)
	local := cx.Local("dockerfile", pintle.Follow(name), pintle.SharedKey("dockerfile"), pintle.Name("load build file"))
	text, err := cx.Solve(local).ReadText(name)
	if err != nil {
		return nil, err
	}
	source := cx.SourceFile(name, "{{name}}", text, local)
	state := cx.Scratch()
	offset := 0
	for _, line := range strings.Split(text, "\n") {
		if strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "#") {
			if state, err = step(cx, state, line, source.At(offset, offset+len(line))); err != nil {
				return nil, err
			}
		}
		offset += len(line) + 1
	}
	return pintle.One(state, map[string]any{"os": "linux", "architecture": "amd64", "config": map[string]any{}}), nil
}

// step does what a line says, on what was made before it.
func step(cx *pintle.Host, state pintle.State, line string, at pintle.Location) (pintle.State, error) {
	name, place := pintle.Name(line), pintle.At(at)
	words := strings.Fields(line)
	switch {
	case words[0] == "from" && len(words) == 2 && words[1] == "scratch":
		return cx.Scratch(), nil
	case words[0] == "from" && len(words) == 2:
		return cx.Image(words[1], name, place), nil
	case words[0] == "copy" && len(words) == 3:
		context := cx.Local("context", pintle.SharedKey("context"), pintle.Name("load build context"))
		copied := pintle.Copy(context, words[1], words[2], pintle.CreateParents())
		return state.File([]pintle.FileAction{copied}, name, place), nil
	case words[0] == "run" && len(words) > 1:
		return state.Run([]string{"/bin/sh", "-c", strings.Join(words[1:], " ")}, name, place).Root(), nil
	case words[0] == "write" && len(words) > 1:
		written := pintle.Mkfile(words[1], strings.Join(words[2:], " ")+"\n")
		return state.File([]pintle.FileAction{written}, name, place), nil
	}
	return state, pintle.Errorf("want from IMAGE, copy FROM TO, run COMMAND or write PATH TEXT").At(at)
}

func init() { pintle.Export(language{}) }

func main() {}
