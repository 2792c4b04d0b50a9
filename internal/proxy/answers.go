package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/budget"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// hostNotAllowed makes up the answer to a request that would have carried a
// credential to a host that may not see it.
func hostNotAllowed(req *http.Request) *http.Response {
	return madeUp(req, http.StatusBadGateway, CodeHostNotAllowed)
}

// notAuthenticated makes up the answer to a request that a scheme could not
// authenticate. An error of the client's body is what a transport would have returned.
func (x *Exchange) notAuthenticated(req *http.Request, err error) (*http.Response, error) {
	spent, isSpent := errors.AsType[*budget.Error](err)
	switch {
	case errors.Is(err, scheme.ErrBodyTooLarge):
		return madeUp(req, http.StatusRequestEntityTooLarge, CodeBodyTooLarge), nil
	case isSpent:
		res := madeUp(req, spent.Status(), CodeTooManyRequests)
		res.Header.Set("Retry-After", RetryAfter)
		return res, nil
	case x.bodyErr != nil:
		return nil, x.bodyErr
	case errors.Is(err, credential.ErrUnavailable):
		if x.Logger != nil {
			x.Logger.Warn("a request could not be authenticated", "provider", x.Provider.Name, "error", err)
		}
		res := madeUp(req, http.StatusServiceUnavailable, CodeStoreUnavailable)
		res.Header.Set("Retry-After", RetryAfter)
		return res, nil
	}
	if x.Logger != nil {
		x.Logger.Warn("a request could not be authenticated", "provider", x.Provider.Name)
	}
	return madeUp(req, http.StatusBadGateway, CodeCredentialInvalid), nil
}

// madeUp is an answer and not an error, since a reverse proxy counts errors against the
// health of its upstream.
func madeUp(req *http.Request, status int, code Code) *http.Response {
	contentType, body := Message(req, status, code)
	res := &http.Response{
		StatusCode: status,
		Status:     fmt.Sprintf("%d %s", status, http.StatusText(status)),
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
		Header: http.Header{
			HeaderError: {string(code)}, "Content-Type": {contentType}, "Content-Length": {strconv.Itoa(len(body))},
			"Cache-Control": {"no-store"}, "X-Content-Type-Options": {"nosniff"},
		},
		Body:          http.NoBody,
		ContentLength: int64(len(body)),
		Request:       req,
	}
	if req.Method != http.MethodHead {
		res.Body = io.NopCloser(bytes.NewReader(body))
	}
	return res
}

// speaksForUs reports whether an answer, after [Exchange.guardHeader], was made up, or has been given
// up: there is nothing to learn from it, or to be done about it.
func speaksForUs(header http.Header) bool {
	return len(header[HeaderError]) > 0 || len(header[HeaderReplay]) > 0
}

func isOurs(name string) bool {
	if len(name) != len(HeaderError) && len(name) != len(HeaderReplay) {
		return false // As good as always.
	}
	name = strings.ReplaceAll(name, "_", "-")
	return strings.EqualFold(name, HeaderError) || strings.EqualFold(name, HeaderReplay)
}

// guardHeader takes out of the header or the trailers of an answer what is not for the app:
// fields in which only the proxy speaks, in every spelling, what may mix tenants up, and
// what schemes have set in the request.
func (x *Exchange) guardHeader(header http.Header, forms []string) {
	for name, values := range header {
		switch {
		case isOurs(name), name == "Set-Cookie" && !x.cookiesPass(), isForSomeCaches(name) && x.answersDiffer():
			delete(header, name)
		default:
			scrub(values, forms)
		}
	}
}

// PassesInformational reports whether an answer of 1xx before the last one is for the app,
// and takes out of its header what is not. A client is told to go on (100) once: by an
// upstream that is asked first, or by its server when the body is read.
func (x *Exchange) PassesInformational(status int, header http.Header) bool {
	if status == http.StatusContinue && (x.body == nil || x.body.Asked()) {
		return false
	}
	x.guardHeader(header, x.forms)
	return true
}

// guardTrailers does for an answer's trailers what guardHeader does for its header. They
// come with its end and need not have been announced.
func (x *Exchange) guardTrailers(res *http.Response, forms []string) {
	none := len(res.Trailer) == 0 && res.ContentLength >= 0 && res.ProtoMajor < 2 // RFC 9112 section 6.2
	if none || res.StatusCode == http.StatusSwitchingProtocols || res.Body == http.NoBody {
		return
	}
	guard := func() { x.guardHeader(res.Trailer, forms) }
	guard()
	res.Body = &guardedBody{ReadCloser: res.Body, atEnd: guard}
}

// guardedBody is the body of an answer whose trailers, which the transport sets in the
// Read that ends it, are not all to be passed on.
type guardedBody struct {
	io.ReadCloser
	atEnd func()
}

func (b *guardedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.atEnd()
	}
	return n, err
}
