// Command handwritten is the proxy that one would write by hand for one credential:
// httputil.ReverseProxy with the transport of x/oauth2.
package main

import (
	"flag"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"

	"golang.org/x/oauth2"
)

func main() {
	address := flag.String("listen", "127.0.0.1:0", "address")
	to := flag.String("to", "", "URL of the upstream")
	idle := flag.Int("idle", 32, "idle connections kept to the upstream")
	flag.Parse()
	upstream, err := url.Parse(*to)
	if err != nil {
		log.Fatal(err)
	}
	base := &http.Transport{MaxIdleConns: *idle, MaxIdleConnsPerHost: *idle, DisableCompression: true}
	token := &oauth2.Token{AccessToken: "access-token-of-acme-0123456789abcdefghijklmn", Expiry: time.Now().Add(24 * time.Hour)}
	proxy := &httputil.ReverseProxy{
		Transport: &oauth2.Transport{Base: base, Source: oauth2.ReuseTokenSource(token, nil)},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(upstream)
			r.SetXForwarded()
			r.Out.Header.Del("X-Tenant-Id")
		},
	}
	server := &http.Server{Addr: *address, Handler: proxy, Protocols: new(http.Protocols), ReadHeaderTimeout: time.Minute}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	log.Fatal(server.ListenAndServe())
}
