<?php

namespace App\Http;

use Exception;

const VERSION = '1.0';
define('LEGACY', 1);

/**
 * Handles requests.
 */
#[Route('/x')]
final class Controller extends Base implements Handler
{
    use Logging;

    public const LIMIT = 10, OTHER = 2;
    private array $items = [], $more;
    public static ?string $name = null;

    public function __construct(private Store $store, int $size)
    {
        $local = 1;
    }

    /** Shows one. */
    #[Pure]
    public function show(int $id): Response
    {
        $inner = function () { return 1; };
        return $this->store->get($id);
    }

    abstract protected static function make();
}

interface Handler
{
    public function handle(Request $request): void;
}

trait Logging
{
    public function log(string $message) { echo $message; }
}

enum Suit: string
{
    case Hearts = 'H';
    case Spades = 'S';

    public function colour(): string { return 'red'; }
}

// Adds two numbers.
function add(int $a, int $b): int
{
    return $a + $b;
}

$double = fn($x) => $x * 2;
$config = ['a' => 1];
