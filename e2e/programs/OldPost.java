// Posts a file with the JDK's oldest client, and prints the answer and, in a line of its own,
// its status: java OldPost.java URL FILE [NAME VALUE]...

import java.net.HttpURLConnection;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;

class OldPost {
    public static void main(String[] args) throws Exception {
        var connection = (HttpURLConnection) URI.create(args[0]).toURL().openConnection();
        connection.setRequestMethod("POST");
        connection.setDoOutput(true);
        for (int i = 2; i < args.length; i += 2) {
            connection.setRequestProperty(args[i], args[i + 1]);
        }
        try (var body = connection.getOutputStream()) {
            Files.copy(Path.of(args[1]), body);
        }
        int status = connection.getResponseCode();
        try (var answer = status < 400 ? connection.getInputStream() : connection.getErrorStream()) {
            System.out.write(answer.readAllBytes());
        }
        System.out.print("\n" + status);
        System.out.flush();
    }
}
