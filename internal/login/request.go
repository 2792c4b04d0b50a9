package login

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
	"golang.org/x/net/http/httpguts"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/fields"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
)

// Request is one that is made of the credential. Its texts are templates: they hold
// `{credential.<path>}`, run-time placeholders and, from the second step of a login on,
// `{step1.<path>}`, which is something in the answer to the first one. Of the header, form,
// json and body no value that has to be secret stands there itself.
type Request struct {
	// GET, HEAD, POST, PUT or PATCH. Default: POST.
	Method string `json:"method,omitempty"`

	// The scheme is https, unless the host is a loopback address. What comes from the
	// credential stands for itself in a URL (RFC 3986, section 2.3).
	URL string `json:"url"`

	// Header fields. Default: `Accept: application/json`.
	Header map[string]string `json:"header,omitempty"`

	// The fields of a form that is the body (application/x-www-form-urlencoded).
	Form map[string]string `json:"form,omitempty"`

	// The members of a JSON object that is the body, by name; dots in a name nest. A field
	// of the credential that is all of a value keeps its type, and a constant that is JSON
	// (`true`, `42`, `"42"`, `["a"]`) is that. Everything else is a string.
	JSON map[string]string `json:"json,omitempty"`

	// The body itself, with the header Content-Type. What comes from the credential has no
	// control characters in it, and none that end a text in JSON, XML or a form, if that is
	// what the body is.
	Body string `json:"body,omitempty"`

	// HTTP Basic authentication (RFC 7617).
	User     string `json:"user,omitempty"`
	Password string `json:"password,omitempty"`
}

// Methods are those of a [Request].
var Methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch}

// notSettable are header fields that frame the message or belong to the connection (RFC
// 9110 section 7.6.1, RFC 9112 section 6), or change what of an answer can be read.
var notSettable = []string{
	"Host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Trailer", "Te",
	"Keep-Alive", "Proxy-Connection", "Expect", "Accept-Encoding",
}

// secretNames are what secrets are called, the last part of a name in lower case.
var secretNames = regexp.MustCompile(`(?i)(^|[._-])(password|passwd|pwd|passphrase|(client[_-]?)?secret|api[_-]?key|authorization)$`)

// request is a Request that was read.
type request struct {
	method             string
	url                *value
	header, form, json map[string]*value
	body               *value
	user, password     *value
}

// Check reports what is wrong with a request, which may yet be incomplete. It is the step
// of a login with that number, from 1 on.
func (r *Request) Check(step int, lookup func(name string) (string, error)) error {
	_, err := r.parse(step, lookup)
	return err
}

func (r *Request) parse(step int, lookup func(name string) (string, error)) (*request, error) {
	read := reader{step: step, lookup: lookup}
	q := &request{method: r.Method}
	if q.method == "" {
		q.method = http.MethodPost
	}
	if !slices.Contains(Methods, q.method) {
		return nil, fmt.Errorf("'%s' is not one of the methods %s", q.method, strings.Join(Methods, ", "))
	}
	if r.URL == "" {
		return nil, errors.New("the URL is missing")
	}
	q.url = read.value("", r.URL, nil)
	q.header = read.values("header", r.Header, template.HeaderText)
	q.form = read.values("form", r.Form, template.Text)
	q.json = read.values("json", r.JSON, template.Text)
	if r.Body != "" {
		q.body = read.value("body", r.Body, nil)
	}
	if r.User+r.Password != "" {
		q.user, q.password = read.value("basic", r.User, template.BasicUser), read.value("basic", r.Password, template.NoControl)
	}
	if read.err != nil {
		return nil, read.err
	}
	if _, err := q.url.CheckURL(); err != nil {
		return nil, err
	}
	for name := range r.Header {
		switch {
		case !httpguts.ValidHeaderFieldName(name):
			return nil, fmt.Errorf("%q is not a valid header name", name)
		case slices.Contains(notSettable, http.CanonicalHeaderKey(name)):
			return nil, fmt.Errorf("header %s cannot be set", name)
		}
	}
	bodies := 0
	for _, given := range []bool{r.Form != nil, r.JSON != nil, r.Body != ""} {
		if given {
			bodies++
		}
	}
	switch {
	case bodies > 1:
		return nil, errors.New("form, json and body exclude each other")
	case q.user != nil && r.User == "":
		return nil, errors.New("basic has no user name")
	case q.user != nil && !strings.Contains(r.User+r.Password, "{"):
		return nil, fmt.Errorf("basic: %w", template.ErrInlineSecret)
	case q.user != nil && q.headerOf("Authorization") != nil:
		return nil, errors.New("basic and header Authorization exclude each other")
	}
	if err := fields.CheckPlaces(slices.Sorted(maps.Keys(r.JSON))); err != nil {
		return nil, fmt.Errorf("json: %w", err)
	}
	return q, nil
}

// usesPlaceholder reports whether a value comes from anywhere.
func (r *Request) usesPlaceholder() bool {
	texts := slices.Concat(slices.Collect(maps.Values(r.Header)), slices.Collect(maps.Values(r.Form)), slices.Collect(maps.Values(r.JSON)),
		[]string{r.URL, r.Body, r.User, r.Password})
	return slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(text, "{") })
}

// value is a template that may use the answers to the steps before: {step1.x} stands in it
// as the field step1.x of a credential that has them.
type value struct {
	*template.Template
	text string
	own  *template.Template // the same without the steps' placeholders
}

// reader reads values until one is wrong.
type reader struct {
	step   int
	lookup func(name string) (string, error)
	err    error
}

var (
	stepPlaceholder = regexp.MustCompile(`\{step([0-9]+)\.`)
	stepModifier    = regexp.MustCompile(`(\{credential\.step[0-9]+)\.@`)
	stepField       = regexp.MustCompile(`\{credential\.step[0-9]+[.}|]`)
)

func (r *reader) value(what, text string, rule template.Rule) *value {
	v, err := r.parse(text)
	if err == nil && rule != nil && v.text != "" {
		err = v.CheckLiterals(rule)
	}
	if err != nil && r.err == nil {
		r.err = err
		if what != "" {
			r.err = fmt.Errorf("%s: %w", what, err)
		}
	}
	return v
}

func (r *reader) values(kind string, texts map[string]string, rule template.Rule) map[string]*value {
	values := make(map[string]*value)
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		text := texts[name]
		if text != "" && !strings.Contains(text, "{") && secretNames.MatchString(name) && r.err == nil {
			r.err = fmt.Errorf("%s %s: %w", kind, name, template.ErrInlineSecret)
		}
		values[name] = r.value(kind+" "+name, text, rule)
	}
	return values
}

func (r *reader) parse(text string) (*value, error) {
	if stepField.MatchString(text) {
		return nil, errors.New("step1, step2 … are answers, and no fields of the credential: write {step1.<path>}")
	}
	for _, found := range stepPlaceholder.FindAllStringSubmatch(text, -1) {
		if n, err := strconv.Atoi(found[1]); err != nil || n < 1 || n >= r.step {
			return nil, fmt.Errorf("{step%s.…} is not the answer to a request before this one", found[1])
		}
	}
	v := &value{text: stepPlaceholder.ReplaceAllString(text, "{credential.step$1.")}
	v.text = stepModifier.ReplaceAllString(v.text, "$1|@")
	var err error
	if v.Template, err = template.Parse(v.text, r.lookup); err != nil {
		return nil, err
	}
	v.own, err = template.Parse(text, func(name string) (string, error) {
		if stepPlaceholder.MatchString("{" + name) {
			return "x", nil
		}
		return r.lookup(name)
	})
	return v, err
}

// templates are all of a request's, without what comes from steps.
func (q *request) templates() (all []*template.Template) {
	for _, v := range q.values() {
		all = append(all, v.own)
	}
	return all
}

func (q *request) values() []*value {
	all := []*value{q.url}
	for _, of := range []map[string]*value{q.header, q.form, q.json} {
		for _, name := range slices.Sorted(maps.Keys(of)) {
			all = append(all, of[name])
		}
	}
	for _, v := range []*value{q.body, q.user, q.password} {
		if v != nil {
			all = append(all, v)
		}
	}
	return all
}

// paths are the fields of the credential that a request uses.
func (q *request) paths() (paths []string) {
	for _, t := range q.templates() {
		paths = append(paths, t.Paths()...)
	}
	return paths
}

// headerOf returns the value of a header field, nil if it is not set.
func (q *request) headerOf(name string) *value {
	for other, v := range q.header {
		if http.CanonicalHeaderKey(other) == name {
			return v
		}
	}
	return nil
}

// contentType returns the media type that the header says, "" if it does not.
func (q *request) contentType() string {
	if v := q.headerOf("Content-Type"); v != nil {
		mediaType, _, _ := mime.ParseMediaType(v.text)
		return mediaType
	}
	return ""
}

// build makes the request of c, which has the answers to the steps before. The error holds
// no secret.
func (q *request) build(c *credential.Credential) (*http.Request, error) {
	u, err := q.url.ExecuteURL(c)
	if err != nil {
		return nil, err
	}
	body, contentType, err := q.content(c)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequest(q.method, u.String(), strings.NewReader(body)) //nolint:noctx // who sends it has deadlines of its own
	if err != nil {
		return nil, errors.New("the URL makes no request") // it may have a field of the credential in it
	}
	req.Header.Set("Accept", "application/json")
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for name, v := range q.header {
		text, err := v.ExecuteWith(c, template.Header)
		if err != nil {
			return nil, err
		}
		req.Header.Set(name, text)
	}
	if q.user != nil {
		user, err := q.user.ExecuteWith(c, template.BasicUser)
		if err != nil {
			return nil, err
		}
		password, err := q.password.ExecuteWith(c, template.NoControl)
		if err != nil {
			return nil, err
		}
		req.SetBasicAuth(user, password)
	}
	return req, nil
}

// content returns the body, and its media type unless the header says it.
func (q *request) content(c *credential.Credential) (body, contentType string, err error) {
	switch {
	case len(q.form) > 0:
		form := make(url.Values)
		for name, v := range q.form {
			text, err := v.ExecuteWith(c, template.Text)
			if err != nil {
				return "", "", err
			}
			form.Set(name, text)
		}
		return form.Encode(), "application/x-www-form-urlencoded", nil
	case len(q.json) > 0:
		object := []byte("{}")
		for _, name := range slices.Sorted(maps.Keys(q.json)) {
			raw, err := q.json[name].json(c)
			if err == nil {
				object, err = fields.Set(object, name, raw)
			}
			if err != nil {
				return "", "", err
			}
		}
		return string(object), "application/json", nil
	case q.body != nil:
		body, err = q.body.ExecuteWith(c, bodyRule(q.contentType()))
		return body, "", err
	}
	return "", "", nil
}

// json returns the JSON that a value stands for.
func (v *value) json(c *credential.Credential) (string, error) {
	if !strings.Contains(v.text, "{") && json.Valid([]byte(v.text)) {
		return v.text, nil
	}
	if paths := v.Paths(); len(paths) == 1 && v.text == "{credential."+paths[0]+"}" {
		if _, err := template.Field(c, paths[0], template.Text); err != nil {
			return "", err
		}
		return c.Get(paths[0]).Raw, nil
	}
	text, err := v.ExecuteWith(c, template.Text)
	return string(gjson.AppendJSONString(nil, text)), err
}

// bodyRule is the [template.Rule] for a field of the credential that stands in a body of
// that media type: it must not end the text that it is part of.
func bodyRule(mediaType string) template.Rule {
	ends := ""
	switch {
	case mediaType == "application/x-www-form-urlencoded":
		return template.Unreserved
	case mediaType == "application/json" || strings.HasSuffix(mediaType, "+json"):
		ends = `"\`
	case mediaType == "application/xml" || mediaType == "text/xml" || strings.HasSuffix(mediaType, "+xml"):
		ends = `<>&"'`
	}
	return func(text string) string {
		if strings.ContainsAny(text, ends) {
			return "has a character in it that would end its place in the body"
		}
		return template.NoControl(text)
	}
}
