// Command upstream is the server behind the proxies: as cheap as can be, so that what
// is measured is the proxy.
//
// GET answers with as many bytes as the query parameter size says, others read the body
// as it comes and answer with its length. /rejected answers 401, and /token what a token
// endpoint does to a refresh token that is worth nothing.
package main

import (
	"flag"
	"io"
	"log"
	"strconv"

	"github.com/valyala/fasthttp"
)

func main() {
	address := flag.String("listen", "127.0.0.1:0", "address")
	flag.Parse()
	server := &fasthttp.Server{
		Handler:               handle,
		StreamRequestBody:     true,
		MaxRequestBodySize:    1 << 30,
		NoDefaultServerHeader: true,
		ReadBufferSize:        16 << 10,
		WriteBufferSize:       64 << 10,
	}
	log.Fatal(server.ListenAndServe(*address))
}

// content is what downloads are made of.
var content = make([]byte, 100<<20)

func handle(ctx *fasthttp.RequestCtx) {
	switch string(ctx.Path()) {
	case "/rejected":
		ctx.SetStatusCode(fasthttp.StatusUnauthorized)
		return
	case "/token":
		ctx.SetStatusCode(fasthttp.StatusBadRequest)
		ctx.SetContentType("application/json")
		ctx.SetBodyString(`{"error":"invalid_grant"}`)
		return
	}
	if !ctx.IsGet() {
		n, err := io.CopyBuffer(io.Discard, onlyReader{ctx.RequestBodyStream()}, make([]byte, 64<<10))
		if err != nil {
			ctx.Error(err.Error(), fasthttp.StatusBadRequest)
			return
		}
		ctx.Response.Header.Set("X-Length", strconv.FormatInt(n, 10))
		return
	}
	size := ctx.QueryArgs().GetUintOrZero("size")
	ctx.SetContentType("application/octet-stream")
	ctx.Response.SetBodyRaw(content[:min(size, len(content))])
}

// onlyReader hides other ways to copy.
type onlyReader struct{ io.Reader }
