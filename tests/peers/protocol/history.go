package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sort"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/content/proxy"
	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/identity"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	tracev1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	resourcev1 "go.opentelemetry.io/proto/otlp/resource/v1"
	spanv1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// trace: the spans of a client and of the daemon are one trace, which is with the record once that is finalized.
func trace() {
	conn, err := grpc.NewClient(os.Getenv("BUILDKIT_HOST"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(err)
	id, parent := bytes.Repeat([]byte{0xab}, 16), bytes.Repeat([]byte{0xcd}, 8)
	span := &spanv1.Span{
		TraceId: id, SpanId: parent, Name: "the client's", StartTimeUnixNano: 1, EndTimeUnixNano: 2,
		Attributes: []*commonv1.KeyValue{{Key: "number", Value: &commonv1.AnyValue{Value: &commonv1.AnyValue_IntValue{IntValue: 7}}}, {Key: "nothing"}},
		Events:     []*spanv1.Span_Event{{Name: "event"}},
		Status:     &spanv1.Status{Code: spanv1.Status_STATUS_CODE_ERROR},
	}
	service := &resourcev1.Resource{Attributes: []*commonv1.KeyValue{{Key: "service.name", Value: &commonv1.AnyValue{Value: &commonv1.AnyValue_StringValue{StringValue: "tester"}}}}}
	traces := tracev1.NewTraceServiceClient(conn)
	send := func(spans ...*spanv1.Span) {
		answer, err := traces.Export(ctx, &tracev1.ExportTraceServiceRequest{ResourceSpans: []*spanv1.ResourceSpans{
			{Resource: service, ScopeSpans: []*spanv1.ScopeSpans{{Spans: spans}}},
		}})
		check(err)
		fmt.Println("rejected", answer.GetPartialSuccess().GetRejectedSpans())
	}
	send(span)
	send(&spanv1.Span{}, &spanv1.Span{TraceId: id, SpanId: []byte("short")})
	def := marshal(llb.Scratch().File(llb.Mkfile("/traced", 0o644, nil), llb.WithCustomName("[a step]")))
	ref := identity.NewID()
	header := fmt.Sprintf("00-%x-%x-01", id, parent)
	_, err = c.ControlClient().Solve(metadata.AppendToOutgoingContext(ctx, "traceparent", header), &controlapi.SolveRequest{Ref: ref, Definition: def})
	check(err)
	var names []string
	var root string
	for _, stub := range recorded(ref) {
		switch stub.Parent.SpanID {
		case fmt.Sprintf("%x", parent):
			root = stub.SpanContext.SpanID
			names = append(names, "below the client's: "+stub.Name)
		case root:
			names = append(names, "below that: "+stub.Name)
		default:
			names = append(names, stub.Name)
		}
		if stub.SpanContext.TraceID != fmt.Sprintf("%x", id) {
			fmt.Println("another trace", stub.SpanContext.TraceID)
		}
	}
	sort.Strings(names)
	fmt.Println(strings.Join(names, "\n"))
	// Once is enough, and a build that there is not cannot be waited for.
	_, err = c.ControlClient().UpdateBuildHistory(ctx, &controlapi.UpdateBuildHistoryRequest{Ref: ref, Finalize: true})
	check(err)
	_, err = c.ControlClient().UpdateBuildHistory(ctx, &controlapi.UpdateBuildHistoryRequest{Ref: "none", Finalize: true})
	fmt.Println(err)
}

// stub is what matters of a span in a record.
type stub struct {
	Name                string
	SpanContext, Parent struct{ TraceID, SpanID string }
	tracetest.SpanStub  `json:"-"`
}

// recorded reads the spans of a build's record, once it is finalized.
func recorded(ref string) (list []stub) {
	_, err := c.ControlClient().UpdateBuildHistory(ctx, &controlapi.UpdateBuildHistoryRequest{Ref: ref, Finalize: true})
	check(err)
	trace := record(ref).Trace
	if trace.MediaType != "application/vnd.buildkit.otlp.json.v0" {
		fmt.Println(trace.MediaType)
	}
	blob, err := content.ReadBlob(ctx, proxy.NewContentStore(c.ContentClient()), ocispecs.Descriptor{
		Digest: digest.Digest(trace.Digest), Size: trace.Size,
	})
	check(err)
	for spans := json.NewDecoder(bytes.NewReader(blob)); ; {
		var one stub
		if err := spans.Decode(&one); errors.Is(err, io.EOF) {
			return list
		} else {
			check(err)
		}
		list = append(list, one)
	}
}

// spans: what a step has said of itself is below the step in the record.
func spans() {
	names, list := map[string]string{}, recorded(os.Args[2])
	for _, one := range list {
		names[one.SpanContext.SpanID] = one.Name
	}
	for _, one := range list {
		if strings.HasPrefix(one.Name, os.Args[3]) {
			fmt.Printf("%s, below %s\n", one.Name, names[one.Parent.SpanID])
		}
	}
}

func record(ref string) *controlapi.BuildHistoryRecord {
	events, err := c.ControlClient().ListenBuildHistory(ctx, &controlapi.BuildHistoryRequest{Ref: ref, EarlyExit: true})
	check(err)
	event, err := events.Recv()
	check(err)
	return event.Record
}

// late: clients that attach in the middle of a build, and after it, are told all of it.
func late() {
	ref := identity.NewID()
	def, err := llb.Image(base).Run(llb.Args([]string{"sh", "-c", "echo begun; until test -e /cache/go; do sleep 0.1; done; echo done"}),
		llb.AddMount("/cache", llb.Scratch(), llb.AsPersistentCacheDir(ref, llb.CacheMountShared))).Root().Marshal(ctx)
	check(err)
	ended := make(chan error, 1)
	begun := make(chan struct{})
	updates := make(chan *client.SolveStatus)
	go func() {
		_, err := c.Solve(ctx, def, client.SolveOpt{Ref: ref}, updates)
		ended <- err
	}()
	go func() {
		for update := range updates {
			for _, line := range update.Logs {
				if strings.Contains(string(line.Data), "begun") {
					close(begun)
				}
			}
		}
	}()
	<-begun
	middle := follow(ctx, ref)
	for message := range middle {
		if strings.Contains(message, "begun") {
			break
		}
	}
	fmt.Println("in the middle: begun")
	release, err := llb.Image(base).Run(llb.Shlex("touch /cache/go"),
		llb.AddMount("/cache", llb.Scratch(), llb.AsPersistentCacheDir(ref, llb.CacheMountShared))).Root().Marshal(ctx)
	check(err)
	_, err = c.Solve(ctx, release, client.SolveOpt{}, nil)
	check(err)
	check(<-ended)
	for message := range middle {
		fmt.Print("in the middle: ", message)
	}
	for message := range follow(ctx, ref) {
		fmt.Print("after the end: ", message)
	}
	fmt.Fprintln(os.Stderr, ref)
}

// follow is the output of a build's steps, piece by piece.
func follow(ctx context.Context, ref string) chan string {
	stream, err := c.ControlClient().Status(ctx, &controlapi.StatusRequest{Ref: ref})
	check(err)
	output := make(chan string)
	go func() {
		defer close(output)
		for {
			message, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return
			}
			check(err)
			for _, line := range message.Logs {
				output <- string(line.Msg)
			}
		}
	}()
	return output
}

// collector prints the spans that come, with the service that they are of.
type collector struct {
	tracev1.UnimplementedTraceServiceServer
}

func (collector) Export(ctx context.Context, req *tracev1.ExportTraceServiceRequest) (*tracev1.ExportTraceServiceResponse, error) {
	headers, _ := metadata.FromIncomingContext(ctx)
	show(req, headers.Get("key"))
	return &tracev1.ExportTraceServiceResponse{}, nil
}

func show(req *tracev1.ExportTraceServiceRequest, key []string) {
	for _, resource := range req.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			for _, span := range scope.Spans {
				fmt.Println(resource.Resource.Attributes[0].Value.GetStringValue(), span.Name, key)
			}
		}
	}
}

// collect is a collector of traces, by gRPC and by HTTP; it writes its addresses into files first.
func collect() {
	listen := func(file string) net.Listener {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		check(err)
		check(os.WriteFile(file+".new", []byte(listener.Addr().String()), 0o644))
		check(os.Rename(file+".new", file))
		return listener
	}
	server := grpc.NewServer()
	tracev1.RegisterTraceServiceServer(server, collector{})
	go func() { check(server.Serve(listen("grpc.addr"))) }()
	check(http.Serve(listen("http.addr"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		check(err)
		var req tracev1.ExportTraceServiceRequest
		check(proto.Unmarshal(body, &req))
		show(&req, []string{r.URL.Path})
	})))
}
