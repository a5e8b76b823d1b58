package main

import (
	"errors"
	"strings"
	"testing"

	pintle "github.com/pintle/pintle/sdk/go"
	"github.com/pintle/pintle/sdk/go/pintletest"
)

const file = `VERSION 0.8
FROM golang:1.24-alpine
ARG --global TAG=dev
ARG OWN=base
WORKDIR /go-workdir

deps:
    # Dependencies are fetched once.
    COPY go.mod go.sum ./
    RUN --mount=type=cache,target=/go/pkg/mod go mod download
    SAVE ARTIFACT go.mod AS LOCAL go.mod

build:
    FROM +deps
    ARG CGO=0
    ENV CGO_ENABLED=$CGO
    COPY --dir cmd internal ./
    RUN --secret TOKEN=+secrets/token go build \
        -o out/app "./cmd/app"
    SAVE ARTIFACT out/app /app AS LOCAL "out/app-$TAG"

image:
    FROM alpine:3.20
    COPY (+build/app --CGO=1) .
    COPY +build/app /usr/bin/other
    EXPOSE 8080
    LABEL tag=${TAG:-none} own="${OWN:-none}"
    USER app
    ENTRYPOINT ["./app", "--serve"]
    SAVE IMAGE app:$TAG

all:
    BUILD +build
    BUILD +image
`

const imageGraph = `0: source local://dockerfile follow=Earthfile shared-key=dockerfile name="load Earthfile"
1: source docker-image://docker.io/library/golang:1.24-alpine@sha256:11 platform=linux/amd64 name="+base | FROM golang:1.24-alpine"
2: file on 1 name="+base | WORKDIR /go-workdir"
    mkdir /go-workdir parents=true
3: source docker-image://docker.io/library/alpine:3.20@sha256:22 platform=linux/amd64 name="+image | FROM alpine:3.20"
`

func host(text string) *pintletest.FakeHost {
	fake := pintletest.New().File("local://dockerfile", "Earthfile", text)
	fake.File("local://context", ".earthlyignore", "# not these\n*.log\n/tmp\n")
	fake.Image("docker.io/library/golang:1.24-alpine", "sha256:11", `{"config":{"Env":["PATH=/go/bin"],"Cmd":["sh"]}}`)
	return fake.Image("docker.io/library/alpine:3.20", "sha256:22", `{"config":{"Env":["PATH=/bin"],"Cmd":["sh"]}}`)
}

func lower(t *testing.T, text string, opts map[string]string) *pintletest.Built {
	t.Helper()
	built, err := host(text).Build(language{}, opts)
	if err != nil {
		t.Fatal(err)
	}
	return built
}

func wants(t *testing.T, built *pintletest.Built, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(built.Graph, line) {
			t.Errorf("no %q in\n%s", line, built.Graph)
		}
	}
}

func TestAnImage(t *testing.T) {
	built := lower(t, file, map[string]string{"target": "image", "build-arg:TAG": "v1"})
	if !strings.HasPrefix(built.Graph, imageGraph) {
		t.Errorf("got\n%s", built.Graph)
	}
	wants(t, built,
		`source local://context shared-key=context name="load context" exclude=*.log exclude=tmp`,
		`name="+deps | COPY go.mod go.sum ./"`,
		"copy /go-workdir/ from 5 src=/go.mod create-parents=true wildcard=true follow-links=true contents-only=true",
		`exec ["/bin/sh","-c","go mod download"]`,
		"    env PATH=/go/bin\n    env TAG=v1\n    cache /go/pkg/mod scratch id=/go/pkg/mod\n",
		`exec ["/bin/sh","-c","go build -o out/app \"./cmd/app\""]`,
		"    env CGO_ENABLED=1\n    env TAG=v1\n    env CGO=1\n    secret  scratch id=token env=TOKEN\n",
		"    env CGO_ENABLED=0\n",
		"src=/go-workdir/out/app create-parents=true",
		"copy /usr/bin/other from ",
	)
	const config = `{"architecture":"amd64","config":{"Entrypoint":["./app","--serve"],"Env":["PATH=/bin"],"ExposedPorts":{"8080/tcp":{}},` +
		`"Labels":{"own":"none","tag":"v1"},"User":"app"},"os":"linux"}`
	if built.Configs[""] != config {
		t.Error(built.Configs[""])
	}
}

func TestWhatIsSavedLocallyIsTheResult(t *testing.T) {
	built := lower(t, file, map[string]string{"target": "+build"})
	if built.Configs[""] != "" {
		t.Error(built.Configs[""])
	}
	wants(t, built, "copy /out/app-dev from ", `name="+build | SAVE ARTIFACT out/app /app AS LOCAL \"out/app-$TAG\""`)
	built = lower(t, file, nil)
	wants(t, built, `name="targets of BUILD"`, "passthrough ")
}

func TestPlatforms(t *testing.T) {
	text := "VERSION 0.7\nall:\n  FROM alpine:3.20\n  ARG TARGETARCH\n  RUN make $TARGETARCH\n"
	built := lower(t, text, map[string]string{"platform": "linux/amd64,linux/arm/v7"})
	wants(t, built, "env TARGETARCH=arm\n", "env TARGETARCH=amd64\n")
	if !strings.Contains(built.Configs["linux/arm/v7"], `"variant":"v7"`) {
		t.Error(built.Configs)
	}
}

func TestErrorsHaveTheirPlaces(t *testing.T) {
	const all = "VERSION 0.8\nFROM alpine:3.20\nall:\n  "
	cases := []struct{ text, message, excerpt string }{
		{"", "Earthfile: empty: want VERSION 0.8 in the first line", ""},
		{"FROM alpine", "Earthfile: want VERSION 0.8 in the first line", "FROM alpine"},
		{"VERSION 2", "VERSION 2: this frontend reads 0.6, 0.7 and 0.8", "VERSION 2"},
		{"VERSION 0.8\nFROM alpine:3.20", "no target +all, which is built unless --target names another; there are ", ""},
		{"VERSION 0.8\nall:\n  RUN make", "RUN: there is no FROM before it", "  RUN make"},
		{"VERSION 0.8\n  FROM a", "FROM: indented before there is a target", "  FROM a"},
		{"VERSION 0.8\nall:\nFROM a", "FROM: want a target, as in `name:`; commands of a target are indented", "FROM a"},
		{"VERSION 0.8\nall:\n  FROM +all", "target +all builds on itself: +all -> +all", "  FROM +all"},
		{all + "WITH DOCKER\n  END", "WITH DOCKER: not of the core of Earthfiles, which this frontend reads", "  WITH DOCKER"},
		{all + "COPY a", "COPY a: want what to copy, and where to", "  COPY a"},
		{all + "COPY ./lib+build/a .", "./lib+build/a: targets of other Earthfiles are not of the core, which this frontend reads", "  COPY ./lib+build/a ."},
		{all + "COPY +gone/a .", "no target +gone; there are all", "  COPY +gone/a ."},
		{all + "RUN --gpu make", "--gpu: this frontend does not know it here", "  RUN --gpu make"},
		{all + "RUN --mount=type=bind,target=/a make", "--mount type=bind,target=/a: want type cache, tmpfs or secret", "  RUN --mount=type=bind,target=/a make"},
		{all + "ARG --required A", "ARG A: required, and not given: --build-arg A=...", "  ARG --required A"},
		{all + "ARG A=$(date)", "$(date): what a command prints cannot be a value here: give an ARG, or do it in a RUN", "  ARG A=$(date)"},
		{all + "SAVE ARTIFACT a AS LOCAL ../b", "AS LOCAL ../b: leads out of the directory that results go to", "  SAVE ARTIFACT a AS LOCAL ../b"},
		{all + "ENV \"A=b", "\"A=b: a \" is not closed", "  ENV \"A=b"},
		{all + "FROM gone:1", "docker-image://docker.io/library/gone:1: not scripted", "  FROM gone:1"},
	}
	for _, c := range cases {
		fake := host(c.text)
		_, err := fake.Build(language{}, nil)
		var own *pintle.Error
		if !errors.As(err, &own) || own.Message != c.message {
			t.Errorf("%q: got %v, want %s", c.text, err, c.message)
			continue
		}
		excerpt := ""
		if len(own.Places) > 0 {
			excerpt = fake.Excerpt(own.Places[0])
		}
		if excerpt != c.excerpt {
			t.Errorf("%q: its place is %q", c.text, excerpt)
		}
	}
}

func TestWords(t *testing.T) {
	lookup := func(name string) (string, bool) {
		return map[string]string{"A": "1", "B": "x y"}[name], name == "A" || name == "B"
	}
	cases := map[string]string{
		`a  b`:                "a|b",
		`"a b" 'c $A' d\ e`:   "a b|c $A|d e",
		`$A ${B} ${C:-$A}z`:   "1|x y|1z",
		`${A:+yes} ${C:+no}x`: "yes|x",
		`(+a/b --X=$A) .`:     "(+a/b --X=$A)|.",
		`"$B"$ `:              "x y$",
		`''`:                  "",
	}
	for text, want := range cases {
		words, err := split(text, lookup)
		if err != nil || strings.Join(words, "|") != want {
			t.Errorf("%s: %q %v", text, words, err)
		}
	}
	for _, wrong := range []string{`"a`, `(a`, `${A`, `${A?b}`, `$(a)`} {
		if _, err := split(wrong, lookup); err == nil {
			t.Error(wrong)
		}
	}
}

func TestNames(t *testing.T) {
	cases := map[string]string{
		"alpine":             "docker.io/library/alpine:latest",
		"me/app:1":           "docker.io/me/app:1",
		"reg.example/a":      "reg.example/a:latest",
		"localhost:5000/a:1": "localhost:5000/a:1",
		"a@sha256:00":        "docker.io/library/a@sha256:00",
	}
	for name, want := range cases {
		if got := normalized(name); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
}
