package pintle_test

import (
	"errors"
	"strings"
	"testing"

	. "github.com/pintle/pintle/sdk/go"
	"github.com/pintle/pintle/sdk/go/pintletest"
)

// language does what a function does.
type language func(cx *Host, request *Request) (*Output, error)

func (l language) Build(cx *Host, request *Request) (*Output, error) { return l(cx, request) }

const everything = `0: source local://context exclude=.git exclude=*.log shared-key=context name="load context"
1: source docker-image://docker.io/library/gcc:14 platform=linux/arm64 resolve-mode=local
2: exec ["make","-j2"] on 1 cwd=/src readonly-root=true valid-exit-code=0 valid-exit-code=3 extra-host=a=1.2.3.4 name="make it" description.com.example.step=1 ignore-cache=true
    env B=2
    env A=1
    bind /ro 0 readonly=true
    cache /root/.cache scratch id=cc sharing=locked
    bind /src 0 selector=sub
    tmpfs /tmp scratch size=1048576
    secret /run/secrets/token scratch id=token mode=440
    secret  scratch id=TOKEN env=TOKEN
    ssh /agent scratch optional=true
3: file on scratch
    mkdir /app parents=true mode=700
    mkfile /app/hello "hello\n" owner=1:1
    copy /app/ from 2:3 src=/out contents-only=true create-parents=true exclude=*.o
    symlink /app/link to=hello
    rm /app/tmp* wildcard=true allow-not-found=true
4: source git://example.com/r.git#main full-url=https://example.com/r.git
5: diff 1 4
6: merge 3 5 name=together
7: passthrough 6 1 id=x
`

func TestEveryBuilderAndEveryOptionByItsWord(t *testing.T) {
	built, err := pintletest.New().Build(language(func(cx *Host, _ *Request) (*Output, error) {
		context := cx.Local("context", Exclude(".git", "*.log"), SharedKey("context"), Name("load context"))
		base := cx.Image("docker.io/library/gcc:14", Platform("linux/arm64"), ResolveMode("local"))
		ran := base.Run([]string{"make", "-j2"},
			Env("B", "2"), Env("A", "1"), Cwd("/src"), ReadonlyRoot(), ValidExitCode(0, 3), ExtraHost("a", "1.2.3.4"),
			Mounts(
				SSH("/agent", Optional()),
				Secret("/run/secrets/token", ID("token"), Mode(0o440)),
				Secret("TOKEN", AsEnv("TOKEN")),
				Tmpfs("/tmp", Size(1<<20)),
				Bind("/src", context, Selector("sub")),
				Cache("/root/.cache", "cc", Sharing("locked")),
				Bind("/ro", context, Readonly()),
			),
			Name("make it"), Description("com.example.step", "1"), IgnoreCache())
		made, ok := ran.Mount("/src")
		if readonly, _ := ran.Mount("/ro"); !ok || !readonly.Same(context) {
			t.Error("what cannot be written is what it was")
		}
		if _, ok := ran.Mount("/nowhere"); ok || !ran.Root().Same(base) {
			t.Error("a root that cannot be written is what it was")
		}
		files := cx.Scratch().File([]FileAction{
			Mkdir("/app", Parents(), Mode(0o700)),
			Mkfile("/app/hello", "hello\n", Owner("1:1")),
			Copy(made, "/out", "/app/", ContentsOnly(), CreateParents(), Exclude("*.o")),
			Symlink("/app/link", "hello"),
			Rm("/app/tmp*", Wildcard(), AllowNotFound()),
		})
		diff := cx.Diff(base, cx.Git("https://example.com/r.git#main"))
		all := cx.Merge([]State{files, cx.Scratch(), diff}, Name("together"))
		return One(cx.Op("passthrough", []State{all, base}, []Attr{{"id", "x"}}), nil), nil
	}), nil)
	if err != nil {
		t.Fatal(err)
	}
	if built.Graph != everything {
		t.Errorf("got\n%s", built.Graph)
	}
	if built.Results[""] != "7" {
		t.Error(built.Results)
	}
}

const more = `0: source docker-image+blob://a@sha256:00 filename=f mode=600 export-cache=false cap.file.base=true
1: source oci-layout://a@sha256:00 session=s store=x layer-limit=2 constraint=a constraint=b
2: source oci-layout+blob://a@sha256:00 store=x uid=1
3: source local://context metadata-only=true metadata-only-except=*.go shared-key=k
4: exec ["true"] on 1 optional-device=vendor.com/gpu=0 proxy-http=http://proxy keep-mount-stubs=true memory-swap=-1 cpuset-cpus=0
    bind /in 3 output=false content-cache=off
5: file on 2
    copy /f from 0 src=f include=* required=f replace=true mode=u+x
6: merge 4 5
7: build 6 "LLB" filename=/llb
`

func TestWordsThatAreListsFamiliesOrFalse(t *testing.T) {
	built, err := pintletest.New().Build(language(func(cx *Host, _ *Request) (*Output, error) {
		blob := cx.ImageBlob("a@sha256:00", Filename("f"), Mode(0o600), ExportCache(false), Cap("file.base"))
		layout := cx.OCILayout("a@sha256:00", Session("s"), Store("x"), LayerLimit(2), Constraint("a", "b"))
		part := cx.OCILayoutBlob("a@sha256:00", Store("x"), UID(1))
		context := cx.Local("context", MetadataOnly(), MetadataOnlyExcept("*.go"), Attribute("shared-key", "k"))
		ran := layout.Run([]string{"true"}, Mounts(Bind("/in", context, NoOutput(), ContentCache("off"))),
			OptionalDevice("vendor.com/gpu=0"), ProxyHTTP("http://proxy"), KeepMountStubs(), MemorySwap(-1), CpusetCpus("0"))
		if _, ok := ran.Mount("/in"); ok {
			t.Error("what is dropped is not there")
		}
		copied := Copy(blob, "f", "/f", Include("*"), Required("f"), Replace(), Chmod("u+x"))
		all := cx.Merge([]State{ran.Root(), part.File([]FileAction{copied})})
		output := One(cx.Op("build", []State{all}, []Attr{{"filename", "/llb"}}, Content([]byte("LLB"))), nil)
		return output.Scanned("", map[string]State{"in": part, "none": cx.Scratch()}), nil
	}), nil)
	if err != nil {
		t.Fatal(err)
	}
	if built.Graph != more || built.Metadata["sbom.extras"] != `{"in":[2,0],"none":null}` {
		t.Errorf("got\n%s%v", built.Graph, built.Metadata)
	}
}

func TestSourcesArePinnedDownEachWithItsOwnAnswer(t *testing.T) {
	fake := pintletest.New().Image("a", "sha256:00", "{}").File("local://context", "file", "1234567")
	_, err := fake.Build(language(func(cx *Host, _ *Request) (*Output, error) {
		answers := cx.Resolve([]SourceQuery{
			{Identifier: "docker-image://a", Options: []Option{NoConfig()}},
			{Identifier: "git://b", Options: []Option{Objects()}},
		})
		if answers[0].Meta.Digest != "sha256:00" || answers[0].Err != nil || answers[1].Err == nil {
			t.Error(answers)
		}
		if read, err := cx.Solve(cx.Local("context")).ReadRange("file", 2, 3); err != nil || string(read) != "345" {
			t.Error(string(read), err)
		}
		place := cx.SourceFile("file", "text", "one\ntwo", cx.Scratch()).Location([2]uint32{2, 0}, [2]uint32{2, 2})
		if place != (Location{0, 2, 0, 2, 2}) {
			t.Error(place)
		}
		return One(cx.Scratch(), nil), nil
	}), nil)
	if err != nil {
		t.Error(err)
	}
}

func TestErrorsCarryCodeAndPlace(t *testing.T) {
	const text = "one\n\u00fctwo three\n"
	fake := pintletest.New()
	_, err := fake.Build(language(func(cx *Host, _ *Request) (*Output, error) {
		source := cx.SourceFile("Buildfile", "text", text, cx.Scratch())
		at := strings.Index(text, "three")
		return nil, Errorf("no such word: %s", "three").At(source.At(at, at+5))
	}), nil)
	var own *Error
	if !errors.As(err, &own) || own.Code != "invalid-argument" || own.Message != "no such word: three" {
		t.Fatal(err)
	}
	if want := (Location{0, 2, 6, 2, 10}); own.Places[0] != want {
		t.Error(own.Places)
	}
	if excerpt := fake.Excerpt(own.Places[0]); excerpt != "\u00fctwo three" {
		t.Error(excerpt)
	}
}

func TestWhatTheHostRefusesEndsTheBuild(t *testing.T) {
	cases := map[string]func(cx *Host) error{
		"not-found":        func(cx *Host) error { _, err := cx.Solve(cx.Local("context")).ReadText("gone"); return err },
		"unknown-attr":     func(cx *Host) error { cx.Image("a", Attribute("made", "up")); return nil },
		"invalid-argument": func(cx *Host) error { cx.Image("a").Run(nil); return nil },
		"internal":         func(cx *Host) error { var none map[string]int; none["a"] = 1; return nil },
	}
	for code, work := range cases {
		_, err := pintletest.New().Build(language(func(cx *Host, _ *Request) (*Output, error) { return nil, work(cx) }), nil)
		var own *Error
		if !errors.As(err, &own) || own.Code != code {
			t.Errorf("%s: %v", code, err)
		}
	}
	placed := Location{}
	_, err := pintletest.New().Build(language(func(cx *Host, _ *Request) (*Output, error) {
		placed = cx.SourceFile("a", "text", "image a", cx.Scratch()).At(0, 5)
		cx.Image("a", Attribute("made", "up"), At(placed))
		return nil, nil
	}), nil)
	if own, ok := err.(*Error); !ok || len(own.Places) != 1 || own.Places[0] != placed || len(own.Detail) != 0 {
		t.Errorf("%#v", err)
	}
	_, err = pintletest.New().Build(language(func(cx *Host, _ *Request) (*Output, error) {
		_, err := cx.ResolveImages("", []string{"gone"})
		return nil, err
	}), nil)
	if err == nil || err.Error() != "docker-image://gone: not scripted" {
		t.Error(err)
	}
}

func TestFilesLogsWarningsAndPlaces(t *testing.T) {
	fake := pintletest.New().File("local://context", "a", "image\n").File("local://context", "b/c", "")
	fake.Image("image", "sha256:00", `{"os":"linux"}`)
	built, err := fake.Build(language(func(cx *Host, request *Request) (*Output, error) {
		ref := cx.Solve(cx.Local("context"))
		entries, err := ref.ReadDir("/", "")
		if err != nil || len(entries) != 2 || entries[0].Path != "a" || entries[1].Kind != "directory" {
			t.Error(entries, err)
		}
		if !cx.Supports("exec.hostname") || cx.Supports("exec.wings") {
			t.Error("supports")
		}
		text, err := ref.ReadText("a")
		if err != nil {
			return nil, err
		}
		source := cx.SourceFile("a", "text", text, cx.Scratch())
		cx.Log("info", "read")
		cx.Warn("is short", At(source.At(0, 1)), Detail("one line"), Level(2), URL("https://example.com"), About(cx.Local("context")))
		results := map[string]Result{}
		for _, platform := range request.Platforms() {
			images, err := cx.ResolveImages(platform, []string{strings.TrimSpace(text)})
			if err != nil {
				return nil, err
			}
			state := cx.Image(images[0].Reference, Platform(platform), At(source.At(0, 5)))
			results[platform] = Result{state, map[string]string{"os": "linux"}}
		}
		return &Output{Results: results}, nil
	}), map[string]string{"platform": "linux/amd64, linux/arm64"})
	if err != nil {
		t.Fatal(err)
	}
	if built.Results["linux/arm64"] != "2" || built.Configs["linux/amd64"] != `{"os":"linux"}` {
		t.Error(built.Results, built.Configs)
	}
	if fake.Logs[0] != "info: read" || fake.Warnings[0] != "is short" || fake.Excerpt(fake.Places(1)[0]) != "image" {
		t.Error(fake.Logs, fake.Warnings)
	}
}
