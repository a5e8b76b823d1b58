package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// The bucket that is there.
const bucket = "caches"

// Who may ask, by the key's id. The second key holds for a while, and comes with a token.
var keys = map[string]aws.Credentials{
	"key":       {AccessKeyID: "key", SecretAccessKey: "secret"},
	"temporary": {AccessKeyID: "temporary", SecretAccessKey: "secret", SessionToken: "token"},
}

// s3Server is a store in memory that answers only what is signed, as the library of Amazon signs it.
func s3Server(accepted *requests) http.Handler {
	backend := s3mem.New()
	if err := backend.CreateBucket(bucket); err != nil {
		log.Fatal(err)
	}
	fake := gofakes3.New(backend).Server()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := signed(r); err != nil {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(w, "<Error><Code>SignatureDoesNotMatch</Code><Message>%s</Message></Error>", err)
			return
		}
		what := ""
		if r.Header.Get("x-amz-copy-source") != "" {
			what = "copy"
		}
		accepted.note(r, what)
		fake.ServeHTTP(w, r)
	})
}

// signed checks a request's signature, and that the body is the one that was signed.
func signed(r *http.Request) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	sum := sha256.Sum256(body)
	if payload := hex.EncodeToString(sum[:]); r.Header.Get("x-amz-content-sha256") != payload {
		return fmt.Errorf("the body has another digest")
	}
	authorization := r.Header.Get("Authorization")
	fields := strings.FieldsFunc(authorization, func(c rune) bool { return strings.ContainsRune(" ,=/", c) })
	at := slices.Index(fields, "SignedHeaders")
	if at != 7 {
		return fmt.Errorf("no signature that can be read")
	}
	again, err := http.NewRequest(r.Method, "http://"+r.Host+r.URL.RequestURI(), nil)
	if err != nil {
		return err
	}
	for _, name := range strings.Split(fields[at+1], ";") {
		if name != "host" {
			again.Header.Set(name, r.Header.Get(name))
		}
	}
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Amz-") && again.Header.Get(name) == "" {
			return fmt.Errorf("%s is not signed", name)
		}
	}
	credentials, ok := keys[fields[2]]
	if !ok {
		return fmt.Errorf("nobody has the key %s", fields[2])
	}
	signedAt, err := time.Parse("20060102T150405Z", r.Header.Get("x-amz-date"))
	if err != nil {
		return err
	}
	if age := time.Since(signedAt).Abs(); age > 15*time.Minute {
		return fmt.Errorf("signed %s from now", age)
	}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	payload := r.Header.Get("x-amz-content-sha256")
	if err := signer.SignHTTP(r.Context(), credentials, again, payload, "s3", fields[4], signedAt); err != nil {
		return err
	}
	if want := again.Header.Get("Authorization"); want != authorization {
		return fmt.Errorf("%s is not %s", authorization, want)
	}
	return nil
}
