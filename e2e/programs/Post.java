// Posts a file with the JDK's client as it is by default, and prints the answer and, in
// a line of its own, its status: java [-Dexpect=true] Post.java URL FILE [NAME VALUE]...

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Path;

class Post {
    public static void main(String[] args) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(args[0])).POST(HttpRequest.BodyPublishers.ofFile(Path.of(args[1])));
        request.expectContinue(Boolean.getBoolean("expect"));
        for (int i = 2; i < args.length; i += 2) {
            request.header(args[i], args[i + 1]);
        }
        var response = HttpClient.newHttpClient().send(request.build(), HttpResponse.BodyHandlers.ofString());
        System.out.print(response.body() + "\n" + response.statusCode());
    }
}
