package upstream

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
)

// Serve serves h over HTTP/1.1 and HTTP/2 with prior knowledge (h2c) on a free
// port of the loopback interface. The caller closes the server.
func Serve(h http.Handler) *httptest.Server {
	server := newServer(h)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	return server
}

// ServeTLS serves h over HTTP/1.1 and HTTP/2 with TLS, with the certificate of
// net/http/httptest, which is good for 127.0.0.1 and example.com.
func ServeTLS(h http.Handler) *httptest.Server {
	server := newServer(h)
	server.EnableHTTP2 = true
	server.StartTLS()
	return server
}

func newServer(h http.Handler) *httptest.Server {
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // aborted handlers are meant to be
	return server
}
